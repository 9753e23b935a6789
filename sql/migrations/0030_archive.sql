-- Purpose: days whose facts lie on S3 and not here any more: where, what was verified, and what views and statements
--          still say of them. Everything before the end of the last archived day is archived: days go in their order.
-- Grain:   day; object; hour; account-hour of several regions; account and day.

create table billing_core.archives (
    day int primary key,
    bucket text not null,
    prefix text not null,
    root bytea not null,
    frozen_at timestamptz not null default clock_timestamp(),
    run_id bigint not null,
    facts bigint,
    uplink_quantity numeric,
    downlink_quantity numeric,
    included_quantity numeric,
    amount numeric,
    dropped_at timestamptz,
    check ((facts is null) = (dropped_at is null))
);
comment on table billing_core.archives is
    'root: digest over all inputs of the day''s statement when its facts were frozen. Sums are of the facts, taken as they were dropped.';

-- Written once the object was read back from the store and found to hold exactly these facts.
create table billing_core.archive_objects (
    day int not null references billing_core.archives,
    ordinal int not null,
    object_key text not null,
    from_minute int not null,
    until_minute int not null,
    facts bigint not null,
    uplink_quantity numeric not null,
    downlink_quantity numeric not null,
    included_quantity numeric not null,
    amount numeric not null,
    facts_sha256 bytea not null,
    size_bytes bigint not null,
    sha256 bytea not null,
    etag text not null,
    run_id bigint not null,
    verified_at timestamptz not null default clock_timestamp(),
    primary key (day, ordinal)
);
comment on column billing_core.archive_objects.facts_sha256 is
    'SHA-256 over the facts in order of minute and series, computed here and from the object as it was read back.';

-- Numbers, digests and amounts of each hour as its statement had them, so that statements go on to be made and verified.
create table billing_core.archived_hours (
    hour int primary key,
    numbers jsonb not null,
    inputs jsonb not null,
    amounts jsonb not null
);

-- An account-hour of several regions is summed from its facts; these sums stay.
create table billing_core.archived_usage (
    account_key int not null,
    meter_id smallint not null,
    hour int not null,
    region text,
    uplink_quantity bigint not null,
    downlink_quantity bigint not null,
    quantity bigint not null,
    included_quantity bigint not null,
    rated_quantity bigint not null,
    amount numeric not null
);
create index archived_usage_hour on billing_core.archived_usage (hour);

create table billing_core.archived_accounts (
    account_key int not null,
    day int not null,
    last_minute int not null,
    primary key (account_key, day)
);
comment on table billing_core.archived_accounts is 'The last minute with bytes of an account in an archived day.';

create trigger archived_hours_append_only before update or delete on billing_core.archived_hours
    for each row execute function billing_core.refuse_change();
create trigger archived_hours_no_truncate before truncate on billing_core.archived_hours
    for each statement execute function billing_core.refuse_change();

-- The end of the archived hours: no fact before it changes. 0: nothing is archived.
create function billing_core.archive_end() returns int language sql stable
security definer set search_path = pg_catalog, pg_temp as $$
    select coalesce((select (max(day) + 1) * 24 from billing_core.archives), 0)
$$;

create function billing_core.refuse_archived() returns trigger language plpgsql
security definer set search_path = pg_catalog, pg_temp as $$
declare
    of_day int := coalesce(new.minute, old.minute) / 1440;
begin
    raise exception 'facts of % are archived at %: % is refused',
        to_char(to_timestamp(of_day * 86400.0) at time zone 'UTC', 'YYYY-MM-DD'),
        (select 's3://' || bucket || '/' || prefix from billing_core.archives where day = of_day), lower(tg_op)
        using errcode = 'restrict_violation';
end $$;

create function billing_core.facts_of_day(of_day int) returns text language sql immutable as $$
    select 'facts_' || to_char(to_timestamp(of_day * 86400.0) at time zone 'UTC', 'YYYYMMDD')
$$;

-- From here on no fact of the day changes. Waits for who writes it now, in the order of all locks: sealings, ratings, facts.
create function billing_core.freeze_facts(of_day int, to_bucket text, to_prefix text, of_root bytea, of_run bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
begin
    perform from billing_core.deliveries where hour >= of_day * 24 and hour < (of_day + 1) * 24
    order by hour, meter_id for update;
    perform pg_advisory_xact_lock(hashtext('billing_etl rating'));
    insert into billing_core.archives (day, bucket, prefix, root, run_id)
    values (of_day, to_bucket, to_prefix, of_root, of_run);
    execute format('create trigger facts_frozen before insert or update or delete on billing_core.%I'
                   ' for each row execute function billing_core.refuse_archived()', billing_core.facts_of_day(of_day));
end $$;

-- Takes a freeze back; only while nothing lies on S3.
create function billing_core.thaw_facts(of_day int) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
begin
    delete from billing_core.archives where day = of_day and dropped_at is null;
    execute format('drop trigger facts_frozen on billing_core.%I', billing_core.facts_of_day(of_day));
end $$;

-- Drops the facts of a frozen day, once the objects that were verified hold exactly what is here.
create function billing_core.drop_archived_facts(of_day int) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '3s' as $$
declare
    child text := billing_core.facts_of_day(of_day);
    here record;
    there record;
begin
    if not exists (select from billing_core.archives where day = of_day and dropped_at is null) then
        raise exception 'archive: expected a frozen day, got %', of_day using errcode = 'restrict_violation';
    end if;
    execute format(
        'select count(*)::numeric as facts, coalesce(sum(f.uplink_quantity), 0) as uplink,'
        ' coalesce(sum(f.downlink_quantity), 0) as downlink, coalesce(sum(f.included_quantity), 0) as included,'
        ' coalesce(sum((f.uplink_quantity + f.downlink_quantity - f.included_quantity) * r.amount_per_unit), 0) as amount'
        ' from billing_core.%I f left join billing_core.rates r using (rate_id)', child) into here;
    select coalesce(sum(facts), 0) as facts, coalesce(sum(uplink_quantity), 0) as uplink,
           coalesce(sum(downlink_quantity), 0) as downlink, coalesce(sum(included_quantity), 0) as included,
           coalesce(sum(amount), 0) as amount
    into there from billing_core.archive_objects where day = of_day;
    if here is distinct from there then
        raise exception 'archive: expected % in verified objects of day %, got %; nothing was dropped', here, of_day, there
            using errcode = 'restrict_violation';
    end if;
    insert into billing_core.archived_usage
    select s.account_key, s.meter_id, f.minute / 60, billing_core.region_at(n.source_key, f.minute),
           billing_core.capped(sum(f.uplink_quantity)), billing_core.capped(sum(f.downlink_quantity)),
           billing_core.capped(sum(f.uplink_quantity + f.downlink_quantity)), billing_core.capped(sum(f.included_quantity)),
           billing_core.capped(sum(f.uplink_quantity + f.downlink_quantity - f.included_quantity)),
           trim_scale(sum((f.uplink_quantity + f.downlink_quantity - f.included_quantity) * r.amount_per_unit))
    from billing_core.account_hours h
    join billing_core.series s on s.account_key = h.account_key and s.meter_id = h.meter_id
    join billing_core.nodes n using (node_key)
    join billing_core.facts f
        on f.series_id = s.series_id and f.minute >= h.hour * 60 and f.minute < (h.hour + 1) * 60
    join billing_core.rates r on r.rate_id = f.rate_id
    where h.region_id = 0 and h.hour >= of_day * 24 and h.hour < (of_day + 1) * 24
      and to_timestamp((h.hour / 24) * 86400.0) = to_timestamp(of_day * 86400.0)
      and f.minute >= of_day * 1440 and f.minute < (of_day + 1) * 1440
    group by 1, 2, 3, 4;
    insert into billing_core.archived_accounts
    select s.account_key, of_day, max(f.minute)
    from billing_core.facts f join billing_core.series s using (series_id)
    where s.meter_id = 1 and f.minute >= of_day * 1440 and f.minute < (of_day + 1) * 1440
    group by s.account_key;
    update billing_core.archives
    set facts = here.facts, uplink_quantity = here.uplink, downlink_quantity = here.downlink,
        included_quantity = here.included, amount = here.amount, dropped_at = clock_timestamp()
    where day = of_day;
    execute format('drop table billing_core.%I', child);  -- the last, as it shuts readers of all facts out
end $$;

-- As before, but never a partition for facts that are archived.
create or replace function billing_core.ensure_day_partition(day int) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
        continue when parent.name = 'facts' and day * 24 < billing_core.archive_end();
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

-- Runs that archived are kept, too.
create or replace function billing_core.due_runs(before timestamptz, most bigint) returns setof bigint language sql stable as $$
    select run.run_id
    from billing_core.runs as run
    where run.finished_at < before
        and not exists (select from billing_core.ledger_entries as x where x.run_id = run.run_id)
        and not exists (select from billing_core.batches as x where x.run_id = run.run_id)
        and not exists (select from billing_core.source_hours as x where x.run_id = run.run_id)
        and not exists (select from billing_core.failed_source_hours as x where x.run_id = run.run_id)
        and not exists (select from billing_core.reconciliations as x where x.run_id = run.run_id)
        and not exists (select from billing_core.repairs as x where x.run_id = run.run_id)
        and not exists (select from billing_core.price_versions as x where x.run_id = run.run_id)
        and not exists (select from billing_core.plan_members as x where x.run_id = run.run_id)
        and not exists (select from billing_core.closed_periods as x where x.run_id = run.run_id)
        and not exists (select from billing_core.statements as x where x.run_id = run.run_id)
        and not exists (select from billing_core.suspensions as x where x.run_id = run.run_id)
        and not exists (select from billing_core.erasures as x where x.run_id = run.run_id)
        and not exists (select from billing_core.archives as x where x.run_id = run.run_id)
        and not exists (select from billing_core.archive_objects as x where x.run_id = run.run_id)
        and not exists (
            select from billing_core.findings as x
            where run.run_id in (x.run_id, x.closed_run_id, x.repaired_run_id)
        )
    order by run.run_id
    limit most
$$;

-- What is kept of archived hours names prices, and the name of one may hold the uuid of its account.
create or replace function billing_core.refuse_change() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and tg_table_name in ('price_versions', 'repairs', 'repair_outcomes', 'archived_hours')
            and coalesce(current_setting('billing_core.erases', true), '') <> '' then
        if billing_core.is_erasure(to_jsonb(old), to_jsonb(new)) then
            return new;
        end if;
    end if;
    raise exception '% of % is refused: its rows are append-only', lower(tg_op), tg_table_name
        using hint = 'append a correcting row instead', errcode = 'restrict_violation';
end $$;
