-- Purpose: what reconciliation proves by without reading bodies, each difference as a finding of its own, and a record of
--          every repair that nobody can change afterwards.
-- Grain:   sealed hour and meter; batch; difference; repair.

alter table billing_core.deliveries add column sealed_digest bytea;
comment on column billing_core.deliveries.sealed_digest is
    'Digest of sealed_state at the last sealing; null: sealed before this was kept.';

alter table billing_core.batches add column payload_sha256 bytea;
update billing_core.batches set payload_sha256 = sha256(payload);
comment on column billing_core.batches.payload_sha256 is
    'SHA-256 of payload as it was stored, compressed: damage shows without unpacking it.';

alter table billing_core.findings
    add column check_name text,
    add column measure text,
    add column expected_value text,
    add column actual_value text,
    add column difference text,
    add column needs_deep boolean not null default false,
    add column repair text,
    add column repaired_run_id bigint;
update billing_core.findings set check_name = subject where kind = 'reconciliation';
create index findings_check on billing_core.findings (hour, check_name) where closed_at is null and check_name is not null;
comment on column billing_core.findings.needs_deep is
    'Only bodies show it: a run that reads none cannot prove that it is gone.';
comment on column billing_core.findings.repair is 'How it was repaired; of an open one, what was tried or could be.';

-- A repair is recorded before it is begun; how it ended is a second row, so that neither is ever changed.
create table billing_core.repairs (
    repair_id bigint generated always as identity primary key,
    hour int not null,
    check_name text not null,
    subject text not null,
    wrong text not null,
    action text not null,
    run_id bigint not null,
    begun_at timestamptz not null default clock_timestamp()
);
create index repairs_hour on billing_core.repairs (hour, check_name);
comment on table billing_core.repairs is 'Repairs of reconciliation, each written before it is begun; append-only.';

create table billing_core.repair_outcomes (
    repair_id bigint primary key references billing_core.repairs,
    outcome text not null check (outcome in ('repaired', 'failed')),
    detail text not null,
    ended_at timestamptz not null default clock_timestamp()
);
comment on table billing_core.repair_outcomes is
    'How repairs ended; append-only. repaired: the check was made again and what was wrong is gone.';

create trigger repairs_append_only before update or delete on billing_core.repairs
    for each row execute function billing_core.refuse_change();
create trigger repairs_no_truncate before truncate on billing_core.repairs
    for each statement execute function billing_core.refuse_change();
create trigger repair_outcomes_append_only before update or delete on billing_core.repair_outcomes
    for each row execute function billing_core.refuse_change();
create trigger repair_outcomes_no_truncate before truncate on billing_core.repair_outcomes
    for each statement execute function billing_core.refuse_change();

-- The state in which the facts of an hour were last sealed: how many facts, the events that tell it, their net quantity,
-- and a digest over every fact and the names that its event ids are made of. Kept at sealing, computed again by the checks.
create function billing_core.sealed_state(of_hour int, of_meter int)
returns table (facts bigint, events bigint, quantity numeric, digest bytea) language sql stable as $$
    with state as materialized (
        select sealed.series_id, sealed.minute, sealed.revision, sealed.uplink_quantity, sealed.downlink_quantity
        from billing_core.sealed_facts as sealed
        join billing_core.series using (series_id)
        where sealed.minute >= of_hour * 60 and sealed.minute < (of_hour + 1) * 60 and series.meter_id = of_meter
        union all
        select fact.series_id, fact.minute, fact.revision, fact.uplink_quantity, fact.downlink_quantity
        from billing_core.facts as fact
        join billing_core.series using (series_id)
        where fact.minute >= of_hour * 60 and fact.minute < (of_hour + 1) * 60 and series.meter_id = of_meter
            and fact.sealing <= (
                select d.sealings from billing_core.deliveries as d
                where d.hour = of_hour and d.meter_id = of_meter
            )
            and not exists (
                select from billing_core.sealed_facts as sealed
                where sealed.series_id = fact.series_id and sealed.minute = fact.minute
            )
    ),
    named as (
        select
            s.series_id,
            o.source_id,
            n.env,
            n.node_id,
            a.account_uuid,
            s.inbound_tag
        from (select distinct series_id from state) as present
        join billing_core.series as s using (series_id)
        join billing_core.accounts as a using (account_key)
        join billing_core.nodes as n using (node_key)
        join billing_core.sources as o using (source_key)
    )
    select
        count(*),
        coalesce(sum(state.revision), 0),
        coalesce(sum(state.uplink_quantity + state.downlink_quantity), 0),
        sha256(
            coalesce(
                string_agg(
                    int8send((state.series_id::bigint << 32) | state.minute) || int8send(state.uplink_quantity)
                    || int8send(state.downlink_quantity) || int2send(state.revision),
                    ''::bytea order by state.series_id, state.minute
                ), ''::bytea
            ) || (
                select sha256(convert_to(coalesce(string_agg(
                    json_build_array(series_id, source_id, env, node_id, account_uuid, inbound_tag)::text,
                    E'\n' order by series_id
                ), ''), 'UTF8'))
                from named
            )
        )
    from state
$$;
