-- Purpose: who is suspended since when and why, as rows that only grow; what retention looks for; vacuum of tables that
--          change much more than others.
-- Grain:   change of an account's suspension.

create table billing_core.suspensions (
    suspension_id bigint generated always as identity primary key,
    account_key int not null,
    state text not null check (state in ('active', 'suspended')),
    effective_at timestamptz not null,
    arrears_since timestamptz,
    balance numeric not null,
    reason text not null,
    run_id bigint,
    recorded_at timestamptz not null default clock_timestamp()
);
create index suspensions_account on billing_core.suspensions (account_key, suspension_id);
comment on table billing_core.suspensions is
    'Changes of account_balances.suspend_state, append-only. run_id is null where the entry that ended the arrears did it (R6).';

create trigger suspensions_append_only before update or delete on billing_core.suspensions
    for each row execute function billing_core.refuse_change();
create trigger suspensions_no_truncate before truncate on billing_core.suspensions
    for each statement execute function billing_core.refuse_change();

-- R6: the suspension ends in the transaction of the entry that ends the arrears, whatever made it.
create function billing_core.end_suspension() returns trigger language plpgsql as $$
begin
    new.suspend_state := 'active';
    insert into billing_core.suspensions (account_key, state, effective_at, balance, reason)
    values (new.account_key, 'active', clock_timestamp(), new.balance, 'the balance is not below zero any more');
    return new;
end $$;
create trigger balances_end_suspension before update on billing_core.account_balances
    for each row when (new.suspend_state = 'suspended' and new.balance >= 0)
    execute function billing_core.end_suspension();

-- Which runs something refers to, without reading all that was ever posted or sealed: both grow in the order of runs.
create index ledger_entries_run on billing_core.ledger_entries using brin (run_id) with (pages_per_range = 16);
create index batches_run on billing_core.batches using brin (run_id) with (pages_per_range = 16);

-- Every row is written twice or more, or loses its payload: a fifth of a large table is too long to wait for.
alter table billing_core.batches set (
    autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_scale_factor = 0.02);
alter table billing_core.account_hours set (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
alter table billing_core.account_balances set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
alter table billing_core.runs set (autovacuum_vacuum_scale_factor = 0.05);
alter table billing_core.findings set (autovacuum_vacuum_scale_factor = 0.05);

-- What is due to be dropped, oldest first: the rule of each table, whoever applies it.

-- Run records that are old and that nothing refers to: no money, price, delivery, collected hour, finding, repair,
-- suspension or statement is theirs.
create function billing_core.due_runs(before timestamptz, most bigint) returns setof bigint language sql stable as $$
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
        and not exists (
            select from billing_core.findings as x
            where run.run_id in (x.run_id, x.closed_run_id, x.repaired_run_id)
        )
    order by run.run_id
    limit most
$$;

-- Findings that were closed long ago. Should the same be found again, it is a new one.
create function billing_core.due_findings(before timestamptz, most bigint) returns setof bigint language sql stable as $$
    select finding.finding_id
    from billing_core.findings as finding
    where finding.closed_at < before
    order by finding.finding_id
    limit most
$$;

-- Sealed payloads that nobody needs any more: delivered before a moment, and their hour reconciled clean since.
create function billing_core.due_payloads(before timestamptz, most bigint) returns setof bigint language sql stable as $$
    select batch.batch_id
    from billing_core.batches as batch
    where batch.delivered_at < before and batch.payload_dropped_at is null
        and not exists (
            select from billing_core.reconciliations as result
            where result.hour = batch.hour and result.status = 'different'
        )
        and (
            select count(*)
            from billing_core.reconciliations as result
            where result.hour = batch.hour and result.check_name in ('facts_events', 'sealed_stored')
                and result.status in ('clean', 'repaired') and result.checked_at > batch.delivered_at
        ) = 2
    order by batch.delivered_at
    limit most
$$;

-- What runs the pipeline may not delete records: only what these find, and never what is younger than a day. Rows that
-- are locked are in use; a later call finds them again.
create function billing_core.drop_runs(before timestamptz, most bigint) returns bigint
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with due as materialized (
        select run.run_id from billing_core.runs as run
        where run.run_id in (select billing_core.due_runs(least(before, clock_timestamp() - interval '1 day'), most))
        for update skip locked
    ), dropped as (
        delete from billing_core.runs as run using due where run.run_id = due.run_id returning run.run_id
    )
    select count(*) from dropped
$$;
create function billing_core.drop_findings(before timestamptz, most bigint) returns bigint
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with due as materialized (
        select finding.finding_id from billing_core.findings as finding
        where finding.finding_id in (
            select billing_core.due_findings(least(before, clock_timestamp() - interval '1 day'), most))
        for update skip locked
    ), dropped as (
        delete from billing_core.findings as finding using due
        where finding.finding_id = due.finding_id returning finding.finding_id
    )
    select count(*) from dropped
$$;
create function billing_core.drop_payloads(before timestamptz, most bigint) returns bigint language sql as $$
    with due as materialized (
        select batch.batch_id from billing_core.batches as batch
        where batch.batch_id in (select billing_core.due_payloads(before, most))
        for update skip locked
    ), dropped as (
        update billing_core.batches as batch
        set payload = null, payload_dropped_at = clock_timestamp()
        from due
        where batch.batch_id = due.batch_id
        returning batch.batch_id
    )
    select count(*) from dropped
$$;
