-- Purpose: the identifiers of a person can be erased: the account gets another uuid that leads nowhere, every amount and
--          byte stays. Digests name an account by the SHA-256 of its uuid, which outlives the uuid; events keep their ids.
-- Grain:   erased account; sealed fact of one.
-- Digests that were kept at sealing are made anew where they were right: once over every sealed hour.

create table billing_core.erasures (
    erasure_id int generated always as identity primary key,
    account_key int not null unique references billing_core.accounts,
    former_sha256 bytea not null unique,
    first_hour int,
    reason text not null,
    erased_by text not null,
    run_id bigint not null,
    erased_at timestamptz not null default clock_timestamp()
);
comment on table billing_core.erasures is
    'Accounts whose identifiers were erased; append-only. former_sha256: of the uuid that was, by which it is known again when it is served.';
create trigger erasures_append_only before update or delete on billing_core.erasures
    for each row execute function billing_core.refuse_change();
create trigger erasures_no_truncate before truncate on billing_core.erasures
    for each statement execute function billing_core.refuse_change();

-- The ids that events of an erased account were sent with: they are made of its uuid and can be made no more.
create table billing_core.erased_events (
    series_id int not null,
    minute int not null,
    ids uuid[] not null,
    primary key (series_id, minute)
);
comment on table billing_core.erased_events is
    'Facts sealed before their account was erased. ids: of the fact itself, then of its events from revision 1 on.';

-- What digests call an account; of an erased one, what they called it before.
create function billing_core.account_digest(account uuid, former bytea) returns bytea language sql immutable parallel safe as $$
    select coalesce(former, sha256(convert_to(account::text, 'UTF8')))
$$;

alter function billing_core.sealed_state(int, int) rename to sealed_state_by_uuid;
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
            encode(billing_core.account_digest(a.account_uuid, e.former_sha256), 'hex') as account,
            s.inbound_tag
        from (select distinct series_id from state) as present
        join billing_core.series as s using (series_id)
        join billing_core.accounts as a using (account_key)
        left join billing_core.erasures as e using (account_key)
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
                    json_build_array(series_id, source_id, env, node_id, account, inbound_tag)::text,
                    E'\n' order by series_id
                ), ''), 'UTF8'))
                from named
            )
        )
    from state
$$;
update billing_core.deliveries as d
set sealed_digest = (select s.digest from billing_core.sealed_state(d.hour, d.meter_id) as s)
where d.sealed_digest = (select s.digest from billing_core.sealed_state_by_uuid(d.hour, d.meter_id) as s);
drop function billing_core.sealed_state_by_uuid(int, int);

-- Whether a row is changed by nothing but an erasure: its former uuid, wherever it is spelled, became the one it has now.
create function billing_core.is_erasure(before jsonb, after jsonb) returns boolean language sql stable as $$
    select exists (
        select from billing_core.erasures e join billing_core.accounts a using (account_key)
        where e.former_sha256 = sha256(convert_to(current_setting('billing_core.erases', true), 'UTF8'))
            and after = regexp_replace(before::text, current_setting('billing_core.erases', true), a.account_uuid::text, 'gi')::jsonb)
$$;

-- Prices and repairs name accounts. The ledger does not, and is changed by nothing.
create or replace function billing_core.refuse_change() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and tg_table_name in ('price_versions', 'repairs', 'repair_outcomes')
            and coalesce(current_setting('billing_core.erases', true), '') <> '' then
        if billing_core.is_erasure(to_jsonb(old), to_jsonb(new)) then
            return new;
        end if;
    end if;
    raise exception '% of % is refused: its rows are append-only', lower(tg_op), tg_table_name
        using hint = 'append a correcting row instead', errcode = 'restrict_violation';
end $$;

create or replace function billing_core.check_profile() returns trigger language plpgsql as $$
declare
    factor record;
begin
    if tg_op = 'UPDATE' and new.account_uuid <> old.account_uuid then
        if coalesce(current_setting('billing_core.erases', true), '') <> '' then
            if billing_core.is_erasure(to_jsonb(old), to_jsonb(new)) then
                return new;
            end if;
        end if;
        raise exception 'account_billing_profiles: expected the account_uuid % to stay, got %; insert a profile for the other account',
            old.account_uuid, new.account_uuid using errcode = 'check_violation';
    end if;
    for factor in
        select * from (values ('base_price_per_byte', new.base_price_per_byte),
                              ('region_multiplier', new.region_multiplier), ('line_multiplier', new.line_multiplier),
                              ('peak_multiplier', new.peak_multiplier),
                              ('offpeak_multiplier', new.offpeak_multiplier)) as f (name, value)
    loop
        if not coalesce(factor.value >= 0 and factor.value < 'infinity', false) then
            raise exception 'account_billing_profiles: expected % of 0 or more, got %; give a number',
                factor.name, coalesce(factor.value::text, 'null') using errcode = 'check_violation';
        end if;
    end loop;
    if not coalesce(new.included_quota_bytes >= 0, false) then
        raise exception 'account_billing_profiles: expected included_quota_bytes of 0 or more, got %; give bytes per billing period',
            coalesce(new.included_quota_bytes::text, 'null') using errcode = 'check_violation';
    end if;
    new.updated_at := clock_timestamp();
    new.created_at := case when tg_op = 'UPDATE' then old.created_at else new.updated_at end;
    return new;
end $$;

-- Nothing new is kept under a uuid that was erased, whoever writes it.
create function billing_core.refuse_erased_accounts() returns trigger language plpgsql as $$
declare
    erased record;
begin
    select e.erasure_id, e.erased_at into erased
    from added join billing_core.erasures e on e.former_sha256 = billing_core.account_digest(added.account_uuid, null)
    limit 1;
    if found then
        raise exception 'an account was erased on % (erasure %): nothing new is kept under the uuid that it had',
            to_char(erased.erased_at at time zone 'UTC', 'YYYY-MM-DD'), erased.erasure_id using errcode = 'restrict_violation';
    end if;
    return null;
end $$;
create trigger accounts_not_erased after insert on billing_core.accounts
    referencing new table as added for each statement execute function billing_core.refuse_erased_accounts();

create function billing_core.refuse_erased_prices() returns trigger language plpgsql as $$
declare
    erased record;
begin
    select e.erasure_id, e.erased_at into erased
    from billing_core.erasures e
    where new.scope = 'account' and e.former_sha256 = sha256(convert_to(new.scope_key, 'UTF8'));
    if found then
        raise exception 'an account was erased on % (erasure %): nothing new is kept under the uuid that it had',
            to_char(erased.erased_at at time zone 'UTC', 'YYYY-MM-DD'), erased.erasure_id using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
create trigger price_versions_not_erased before insert on billing_core.price_versions
    for each row execute function billing_core.refuse_erased_prices();

-- Purpose:    finds a uuid wherever text of it is kept, and replaces it.
-- Grain:      table that has it. stays: it is not replaced there, as the ledger is changed by nothing, signed statements
--             are what was signed, and a key names an object that is stored under it.
-- Parameters: former, replacement (null: only looks).
create function billing_core.replace_uuid(former uuid, replacement uuid)
returns table (place text, found_rows bigint, stays boolean) language plpgsql as $$
declare
    t record;
begin
    perform set_config('billing_core.erases', former::text, true),
            set_config('billing_core.shows_version', 'on', true);  -- a profile with another name is no other price
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
            execute format('select count(*) from %s where %s', t.name, t.condition) into found_rows using former::text;
        else
            execute format('update %s set %s where %s', t.name, t.assignments, t.condition)
            using former::text, replacement::text;
            get diagnostics found_rows = row_count;
        end if;
        if found_rows > 0 then
            return next;
        end if;
    end loop;
    perform set_config('billing_core.erases', '', true), set_config('billing_core.shows_version', 'off', true);
end $$;

-- The run of an erasure is kept like that of a statement.
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
        and not exists (
            select from billing_core.findings as x
            where run.run_id in (x.run_id, x.closed_run_id, x.repaired_run_id)
        )
    order by run.run_id
    limit most
$$;

-- What looks like an email address was masked when it was put into quarantine, unless it was spelled with an escape.
update billing_core.quarantine
set raw_text = regexp_replace(raw_text, '[^\s"''<>,;:=@]+(@|\\+u0040)[^\s"''<>,;:=@]+', '***', 'g')
where raw_text ~ '@|\\u0040';
