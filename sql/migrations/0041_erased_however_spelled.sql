-- Purpose: a uuid is erased however it is spelled: a bad sample may name it without hyphens.
-- Grain:   -

-- A pattern for a uuid in text, with or without its hyphens; used without regard to case.
create function billing_core.spellings(of_uuid text) returns text language sql immutable as $$
    select replace(of_uuid, '-', '-?')
$$;

create or replace function billing_core.is_erasure(before jsonb, after jsonb) returns boolean language sql stable as $$
    select exists (
        select from billing_core.erasures e join billing_core.accounts a using (account_key)
        where e.former_sha256 = sha256(convert_to(current_setting('billing_core.erases', true), 'UTF8'))
            and after = regexp_replace(before::text, billing_core.spellings(current_setting('billing_core.erases', true)),
                                       a.account_uuid::text, 'gi')::jsonb)
$$;

-- Purpose:    finds a uuid wherever text of it is kept, and replaces it.
-- Grain:      table that has it. stays: it is not replaced there, as the ledger is changed by nothing, signed statements
--             are what was signed, and a key names an object that is stored under it.
-- Parameters: former, replacement (null: only looks).
create or replace function billing_core.replace_uuid(former uuid, replacement uuid)
returns table (place text, found_rows bigint, stays boolean) language plpgsql as $$
declare
    t record;
begin
    perform set_config('billing_core.erases', former::text, true);
    for t in
        select c.oid::regclass::text as name, k.is_kept,
               string_agg(format('%I', a.attname), ', ' order by a.attnum) as columns,
               -- All columns of a row at once: a row is an erasure as a whole, or it is none.
               string_agg(format('%I = regexp_replace(%I::text, $1, $2, ''gi'')::%s', a.attname, a.attname, format_type(a.atttypid, null)),
                          ', ' order by a.attnum) as assignments,
               string_agg(format('%I::text ~* $1', a.attname), ' or ' order by a.attnum) as condition
        from pg_attribute a
        join pg_class c on c.oid = a.attrelid
        cross join lateral (
            select c.relname in ('ledger_entries', 'statements') or (c.relname, a.attname) = ('batches', 'object_key') as is_kept
        ) k
        where c.relnamespace in ('billing_core'::regnamespace, 'account_read_model'::regnamespace)
            and c.relkind in ('r', 'p') and not c.relispartition
            and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
            and a.atttypid in ('text'::regtype, 'text[]'::regtype, 'uuid'::regtype, 'jsonb'::regtype)
        group by c.oid, k.is_kept
        order by 1, 2
    loop
        place := format('%s (%s)', t.name, t.columns);
        stays := t.is_kept;
        if replacement is null or t.is_kept then
            execute format('select count(*) from %s where %s', t.name, t.condition) into found_rows
            using billing_core.spellings(former::text);
        else
            execute format('update %s set %s where %s', t.name, t.assignments, t.condition)
            using billing_core.spellings(former::text), replacement::text;
            get diagnostics found_rows = row_count;
        end if;
        if found_rows > 0 then
            return next;
        end if;
    end loop;
    perform set_config('billing_core.erases', '', true);
end $$;
