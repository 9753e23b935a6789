-- Purpose: lets others read, and lets account services write prices: functions that views call for readers without
--          rights in billing_core, and the schema of the shared accounting tables with the one table that is written.
-- Grain:   account.

-- A view has the rights of its owner, a function in it those of who asks; these read tables.
alter function billing_core.region_at(bigint, int) security definer set search_path = pg_catalog, pg_temp;
alter function billing_core.anchor_day() security definer set search_path = pg_catalog, pg_temp;
alter function billing_core.included_quota(int, int) security definer set search_path = pg_catalog, pg_temp;

alter table billing_core.price_versions add column pricing_rule_version text;
comment on column billing_core.price_versions.pricing_rule_version is
    'What the account service calls it, which many accounts may share; null: it was not written as a profile.';

-- Purpose: the version that prices an account at a minute (R2), of what was published by an instant.
create function billing_core.version_in_force(account uuid, at_minute int, as_of timestamptz)
returns billing_core.price_versions language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select v
    from billing_core.price_versions v
    where v.meter_id = 1 and v.from_minute <= at_minute and v.published_at <= as_of
      and (v.scope = 'default'
           or v.scope = 'account' and v.scope_key = account::text
           or v.scope = 'plan' and v.scope_key = (
               select m.plan
               from billing_core.plan_members m join billing_core.accounts a using (account_key)
               where a.account_uuid = account and m.from_minute <= at_minute
               order by m.from_minute desc limit 1))
    order by array_position(array['account', 'plan', 'default'], v.scope), v.from_minute desc
    limit 1
$$;

create schema if not exists account_read_model;

-- A table and not a view, as account services write it with `on conflict (account_uuid) do update`, which no view can
-- take. Nothing is rated by it: it shows what was written last, and the version made of that is what counts.
create table account_read_model.account_billing_profiles (
    account_uuid uuid primary key,
    package_name text not null default 'default',
    included_quota_bytes bigint not null default 0,
    base_price_per_byte double precision not null,
    region_multiplier double precision not null default 1,
    line_multiplier double precision not null default 1,
    peak_multiplier double precision not null default 1,
    offpeak_multiplier double precision not null default 1,
    pricing_rule_version text not null default '',
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp()
);

-- Purpose: who writes a profile is the one rating writer from before the first row on (R4): the order of all locks.
create function billing_core.lock_for_profiles() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '120s' as $$
begin
    if tg_op in ('DELETE', 'TRUNCATE') then
        raise exception 'account_billing_profiles: % is refused: a price ends when the next one begins; write the values that apply from now on', lower(tg_op)
            using errcode = 'restrict_violation';
    end if;
    perform pg_advisory_xact_lock(hashtext('billing_etl rating'));
    return null;
exception when lock_not_available then
    raise exception 'account_billing_profiles: waited 120 s for a run that rates or changes prices; nothing was written, write again when it has ended'
        using errcode = 'lock_not_available';
end $$;

-- Purpose: refuses a profile that is no price, and keeps the clock of the row.
create function billing_core.check_profile() returns trigger language plpgsql as $$
declare
    factor record;
begin
    if tg_op = 'UPDATE' and new.account_uuid <> old.account_uuid then
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

-- Purpose: a multiplier for every region or line as a version has it. What is as it was keeps its names and digits.
create function billing_core.profile_multipliers(what text, written float8, before float8, known jsonb) returns jsonb
language plpgsql immutable set extra_float_digits = 1 as $$
begin
    if written is not distinct from before then
        return known;
    elsif known - '*' <> '{}' then
        raise exception 'account_billing_profiles: expected % to stay %, as the price has one for each of %, got %; publish it with `billing-etl price publish`',
            what, before, (select string_agg(k, ', ' order by k) from jsonb_object_keys(known - '*') k), written
            using errcode = 'feature_not_supported';
    end if;
    return case when written = 1 then '{}' else jsonb_build_object('*', written::text) end;
end $$;

-- Purpose: a profile as written is a dated version of scope account, from this minute or the first free one after it (R2).
-- What it touches is marked stale, so that the next `rate` finds it.
create function billing_core.publish_profile() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '120s'
set extra_float_digits = 1 as $$
declare
    prior billing_core.price_versions;
    starts int := floor(extract(epoch from clock_timestamp()) / 60);
    run bigint;
begin
    if current_setting('billing_core.shows_version', true) = 'on' then
        return null;  -- the row follows a version that is published already
    elsif tg_op = 'UPDATE' and (new.included_quota_bytes, new.base_price_per_byte, new.region_multiplier, new.line_multiplier,
            new.peak_multiplier, new.offpeak_multiplier, new.pricing_rule_version)
            = (old.included_quota_bytes, old.base_price_per_byte, old.region_multiplier, old.line_multiplier,
               old.peak_multiplier, old.offpeak_multiplier, old.pricing_rule_version) then
        return null;
    end if;
    if tg_op = 'UPDATE' then
        select * into prior from billing_core.price_versions
        where meter_id = 1 and scope = 'account' and scope_key = new.account_uuid::text
        order by price_version_id desc limit 1;
    else
        -- A profile names no hours: those of the price that it follows stay the peak hours.
        prior := billing_core.version_in_force(new.account_uuid, starts, 'infinity');
        prior.region_multipliers := '{}';
        prior.line_multipliers := '{}';
    end if;
    if new.peak_multiplier <> new.offpeak_multiplier and coalesce(prior.peak_hours, '{}') = '{}' then
        raise exception 'account_billing_profiles: expected peak_multiplier and offpeak_multiplier to be equal, as the price in force names no peak hours, got % and %; publish peak hours with `billing-etl price publish`',
            new.peak_multiplier, new.offpeak_multiplier using errcode = 'feature_not_supported';
    end if;
    while exists (select from billing_core.price_versions
                  where meter_id = 1 and scope = 'account' and scope_key = new.account_uuid::text and from_minute = starts) loop
        starts := starts + 1;
    end loop;
    insert into billing_core.runs (command, external_id, finished_at, status, counts)
    values ('write profile', session_user, clock_timestamp(), 'success', jsonb_build_object('account_uuid', new.account_uuid))
    returning run_id into run;
    insert into billing_core.price_versions (
        price_version, meter_id, scope, scope_key, from_minute, price_per_unit, included_quota, region_multipliers,
        line_multipliers, peak_multiplier, offpeak_multiplier, peak_time_zone, peak_hours, run_id, pricing_rule_version)
    values (
        concat_ws(' ', nullif(new.pricing_rule_version, ''), new.account_uuid,
                  to_char(to_timestamp(starts * 60.0) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"')),
        1, 'account', new.account_uuid::text, starts,
        case when tg_op = 'UPDATE' and new.base_price_per_byte = old.base_price_per_byte then prior.price_per_unit
             else new.base_price_per_byte::text::numeric end,
        case when tg_op = 'UPDATE' and new.included_quota_bytes = old.included_quota_bytes then prior.included_quota
             else new.included_quota_bytes end,
        billing_core.profile_multipliers('region_multiplier', new.region_multiplier,
            case when tg_op = 'UPDATE' then old.region_multiplier else 1 end, prior.region_multipliers),
        billing_core.profile_multipliers('line_multiplier', new.line_multiplier,
            case when tg_op = 'UPDATE' then old.line_multiplier else 1 end, prior.line_multipliers),
        case when tg_op = 'UPDATE' and new.peak_multiplier = old.peak_multiplier then prior.peak_multiplier
             else new.peak_multiplier::text::numeric end,
        case when tg_op = 'UPDATE' and new.offpeak_multiplier = old.offpeak_multiplier then prior.offpeak_multiplier
             else new.offpeak_multiplier::text::numeric end,
        coalesce(prior.peak_time_zone, 'UTC'), coalesce(prior.peak_hours, '{}'), run, new.pricing_rule_version);
    with touched as materialized (
        select h.account_key, h.meter_id, h.hour
        from billing_core.account_hours h join billing_core.accounts a using (account_key)
        where a.account_uuid = new.account_uuid and h.meter_id = 1 and h.hour >= starts / 60 and h.rated and not h.stale
        order by h.account_key, h.meter_id, h.hour
        for update of h
    )
    update billing_core.account_hours h
    set stale = true
    from touched t
    where h.account_key = t.account_key and h.meter_id = t.meter_id and h.hour = t.hour;
    return null;
exception when lock_not_available then
    raise exception 'account_billing_profiles: waited 120 s for a run that collects the same account-hours; nothing was written, write again when it has ended'
        using errcode = 'lock_not_available';
end $$;

-- Purpose: the profile of an account shows the version of its own that was published last, whoever published it.
create function billing_core.show_version(version billing_core.price_versions) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform set_config('billing_core.shows_version', 'on', true);
    insert into account_read_model.account_billing_profiles as p (
        account_uuid, included_quota_bytes, base_price_per_byte, region_multiplier, line_multiplier, peak_multiplier,
        offpeak_multiplier, pricing_rule_version)
    values (version.scope_key::uuid,
            coalesce(version.included_quota,
                     (select billing_core.included_quota(a.account_key, version.from_minute / 60)
                      from billing_core.accounts a where a.account_uuid = version.scope_key::uuid),
                     (select v.included_quota from billing_core.price_versions v
                      where v.meter_id = 1 and v.scope = 'default' and v.from_minute <= version.from_minute
                      order by v.from_minute desc limit 1), 0),
            version.price_per_unit::float8, coalesce((version.region_multipliers ->> '*')::float8, 1),
            coalesce((version.line_multipliers ->> '*')::float8, 1), version.peak_multiplier::float8,
            version.offpeak_multiplier::float8, coalesce(version.pricing_rule_version, version.price_version))
    on conflict (account_uuid) do update
    set included_quota_bytes = excluded.included_quota_bytes, base_price_per_byte = excluded.base_price_per_byte,
        region_multiplier = excluded.region_multiplier, line_multiplier = excluded.line_multiplier,
        peak_multiplier = excluded.peak_multiplier, offpeak_multiplier = excluded.offpeak_multiplier,
        pricing_rule_version = excluded.pricing_rule_version;
    perform set_config('billing_core.shows_version', 'off', true);
end $$;

create function billing_core.show_published_version() returns trigger language plpgsql as $$
begin
    if new.scope = 'account' and new.meter_id = 1 and new.pricing_rule_version is null then
        perform billing_core.show_version(new);
    end if;
    return null;
end $$;

create trigger profiles_lock before insert or update or delete or truncate on account_read_model.account_billing_profiles
    for each statement execute function billing_core.lock_for_profiles();
create trigger profiles_check before insert or update on account_read_model.account_billing_profiles
    for each row execute function billing_core.check_profile();
create trigger profiles_publish after insert or update on account_read_model.account_billing_profiles
    for each row execute function billing_core.publish_profile();
create trigger price_versions_shown after insert on billing_core.price_versions
    for each row execute function billing_core.show_published_version();

do $$
declare
    version billing_core.price_versions;
begin
    for version in
        select * from billing_core.price_versions where scope = 'account' and meter_id = 1 order by price_version_id
    loop
        perform billing_core.show_version(version);
    end loop;
end $$;
