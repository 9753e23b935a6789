-- Purpose: which runs are referred to is read from the tables that there are, so that the next table needs no new rule.
-- Grain:   column that names a run.

-- Every column that holds ids of runs, by its name: run_id, or ending in _run_id.
create function billing_core.run_references() returns table (referring regclass, column_name name) language sql stable
security definer set search_path = pg_catalog, pg_temp as $$
    select c.oid::regclass, a.attname
    from pg_class as c
    join pg_attribute as a on a.attrelid = c.oid
    where c.relnamespace = 'billing_core'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
        and c.oid <> 'billing_core.runs'::regclass
        and a.attname ~ '(^|_)run_id$' and a.attnum > 0 and not a.attisdropped
    order by c.relname, a.attname
$$;

-- Run records that are old and that no row of another table names.
create or replace function billing_core.due_runs(before timestamptz, most bigint) returns setof bigint
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    unnamed text;
begin
    select coalesce(string_agg(format(
        ' and not exists (select from %s as x where x.%I = run.run_id)', referring, column_name), ''), '')
    into unnamed from billing_core.run_references();
    return query execute 'select run.run_id from billing_core.runs as run where run.finished_at < $1' || unnamed
        || ' order by run.run_id limit $2' using before, most;
end $$;
