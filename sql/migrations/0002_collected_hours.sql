-- Purpose: what collecting an hour leaves behind: facts, closings, node instants, coverage, history.
-- Grain:   see each table. Facts and closings are partitioned by day; partitions are made by
--          billing_core.ensure_day_partition, ahead of use.

-- Fixed-width, no nulls, no foreign keys, wide columns first: 45 bytes of payload a row. rate_id 0 = not rated yet.
create table billing_core.facts (
    uplink_quantity bigint not null,
    downlink_quantity bigint not null,
    included_quantity bigint not null default 0,
    series_id int not null,
    minute int not null,
    rate_id int not null default 0,
    spans_minutes int not null,
    revision smallint not null default 1,
    sealing smallint not null default 1,
    is_reset boolean not null,
    primary key (series_id, minute)
) partition by range (minute);
create index facts_minute on billing_core.facts using brin (minute) with (pages_per_range = 16);
-- Facts that changed after the first sealing of their hour: few, and looked for in all of history.
create index facts_resealed on billing_core.facts (minute) where sealing > 1;
comment on table billing_core.facts is 'Quantity of one series in one minute (C8, C10) and how it was rated.';
comment on column billing_core.facts.sealing is
    'Number of the hour''s sealing that carries, or will carry, this state of the fact; sealed when deliveries.sealings >= it.';
comment on column billing_core.facts.revision is 'Counts sealings of this fact: 1 at its first (delivery contract).';

-- prev_ns 0: no predecessor. first_kind: how the first delta was judged, see billing_etl.counters.
create table billing_core.closings (
    first_ns bigint not null,
    first_uplink bigint not null,
    first_downlink bigint not null,
    last_ns bigint not null,
    last_uplink bigint not null,
    last_downlink bigint not null,
    prev_ns bigint not null,
    prev_uplink bigint not null,
    prev_downlink bigint not null,
    series_id int not null,
    hour int not null,
    first_kind smallint not null,
    reset_after_first boolean not null,
    provisional boolean not null,
    primary key (series_id, hour)
) partition by range (hour);
create index closings_hour on billing_core.closings using brin (hour) with (pages_per_range = 16);
comment on table billing_core.closings is
    'Per series and hour seen: first and last sample, and what the first delta was measured from (C4). Provisional rows come from look-back only.';
comment on column billing_core.closings.reset_after_first is
    'A later sample within the minute of the first one was a reset; kept so that the first delta can be judged again (C14).';

create table billing_core.node_instants (
    node_key int not null,
    instant_ns bigint not null,
    hour int not null,
    samples int not null,
    compared int not null,
    fell int not null,
    quantity bigint not null,
    provisional boolean not null,
    content_hash bytea not null,
    primary key (node_key, instant_ns)
);
create index node_instants_hour on billing_core.node_instants (node_key, hour);
comment on table billing_core.node_instants is
    'Per snapshot of a node: samples served, hash of its content; compared, fell and quantity count the deltas between samples of the same hour (first deltas are judged from closings, C14).';

create table billing_core.source_hours (
    source_key int not null references billing_core.sources,
    hour int not null,
    state text not null check (state in ('complete', 'partial', 'lost')),
    expected_snapshots int not null,
    snapshots int not null,
    samples bigint not null,
    used bigint not null,
    duplicates bigint not null,
    baselines bigint not null,
    quarantined bigint not null,
    missing_minutes int not null,
    first_ns bigint,
    last_ns bigint,
    content_hash bytea not null,
    changed_at timestamptz not null default clock_timestamp(),
    run_id bigint not null,
    primary key (source_key, hour),
    -- Invariant 4: nothing is dropped without a count.
    check (samples = used + duplicates + baselines + quarantined)
);

-- Hours whose last collection failed and wrote nothing else; a success removes the row.
create table billing_core.failed_source_hours (
    source_key int not null references billing_core.sources,
    hour int not null,
    error text not null,
    failed_at timestamptz not null default clock_timestamp(),
    run_id bigint not null,
    primary key (source_key, hour)
);

create table billing_core.counter_resets (
    series_id int not null,
    instant_ns bigint not null,
    hour int not null,
    is_node_restart boolean not null,
    uplink_before bigint not null,
    downlink_before bigint not null,
    uplink_after bigint not null,
    downlink_after bigint not null,
    primary key (series_id, instant_ns)
);
create index counter_resets_hour on billing_core.counter_resets (hour);

-- series_id 0: the node had no snapshot (exporter_down); else the series was absent (series_absent).
create table billing_core.usage_gaps (
    node_key int not null,
    series_id int not null,
    until_ns bigint not null,
    from_ns bigint not null,
    hour int not null,
    quantity bigint not null,
    primary key (node_key, series_id, until_ns)
);
create index usage_gaps_hour on billing_core.usage_gaps (hour);

create table billing_core.quarantine (
    source_key int not null references billing_core.sources,
    hour int not null,
    ordinal int not null,
    node_key int not null,
    instant_ns bigint not null,
    account_uuid text,
    inbound_tag text,
    reason text not null,
    raw_text text not null,
    primary key (source_key, hour, ordinal)
);
comment on table billing_core.quarantine is 'Bad samples with reason and raw text, without the email (C11).';

create table billing_core.findings (
    finding_id bigint generated always as identity primary key,
    kind text not null,
    source_key int references billing_core.sources,
    hour int,
    subject text not null,
    message text not null,
    expected numeric,
    actual numeric,
    run_id bigint not null,
    opened_at timestamptz not null default clock_timestamp(),
    closed_at timestamptz,
    closed_run_id bigint,
    resolution text
);
create unique index findings_identity on billing_core.findings (kind, coalesce(source_key, 0), coalesce(hour, -1), subject);
comment on table billing_core.findings is 'What a person should know; open until closed_at. The same finding is one row however often it is seen.';

-- Purpose: makes the partitions of one day (days since 1970) when they are missing.
-- Attaching a checked table locks the parent only lightly, so readers and writers go on.
create function billing_core.ensure_day_partition(day int) returns boolean language plpgsql as $$
declare
    label text := to_char(to_timestamp(day * 86400.0) at time zone 'UTC', 'YYYYMMDD');
    parent record;
    child text;
    made boolean := false;
begin
    for parent in
        select * from (values ('facts', 'minute', day * 1440, (day + 1) * 1440),
                              ('closings', 'hour', day * 24, (day + 1) * 24)) as t (name, key, low, high)
    loop
        child := parent.name || '_' || label;
        continue when to_regclass('billing_core.' || child) is not null;
        perform pg_advisory_xact_lock(hashtext('billing_core.ensure_day_partition'));
        begin
            execute format('create table billing_core.%I (like billing_core.%I including all, check (%I >= %s and %I < %s))',
                           child, parent.name, parent.key, parent.low, parent.key, parent.high);
            execute format('alter table billing_core.%I attach partition billing_core.%I for values from (%s) to (%s)',
                           parent.name, child, parent.low, parent.high);
            made := true;
        exception when duplicate_table then
            null;  -- the run that held the lock has made and committed it
        end;
    end loop;
    return made;
end $$;
