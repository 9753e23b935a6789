-- Purpose: every profile that is written is a price. What tells the row of a version that is published already is the version
--          itself, and no setting of the session, which any writer can make. Its numbers keep to what a price file may
--          say: an amount beyond what a float can hold would shut all readers out of the ledger, which is never changed.
-- Grain:   profile.

-- Purpose: the profile of a version of scope account, as readers of the table see it.
create function billing_core.profile_of(version billing_core.price_versions)
returns account_read_model.account_billing_profiles
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    profile account_read_model.account_billing_profiles;
begin
    profile.account_uuid := version.scope_key::uuid;
    profile.included_quota_bytes := coalesce(
        version.included_quota,
        (select billing_core.included_quota(a.account_key, version.from_minute / 60)
         from billing_core.accounts a where a.account_uuid = version.scope_key::uuid),
        (select v.included_quota from billing_core.price_versions v
         where v.meter_id = 1 and v.scope = 'default' and v.from_minute <= version.from_minute
         order by v.from_minute desc limit 1), 0);
    profile.base_price_per_byte := version.price_per_unit::float8;
    profile.region_multiplier := coalesce((version.region_multipliers ->> '*')::float8, 1);
    profile.line_multiplier := coalesce((version.line_multipliers ->> '*')::float8, 1);
    profile.peak_multiplier := version.peak_multiplier::float8;
    profile.offpeak_multiplier := version.offpeak_multiplier::float8;
    profile.pricing_rule_version := coalesce(version.pricing_rule_version, version.price_version);
    return profile;
end $$;

-- Purpose: whether two profiles are one price.
create function billing_core.is_same_price(
    one account_read_model.account_billing_profiles, other account_read_model.account_billing_profiles)
returns boolean language sql immutable set search_path = pg_catalog, pg_temp as $$
    select (one.included_quota_bytes, one.base_price_per_byte, one.region_multiplier, one.line_multiplier,
            one.peak_multiplier, one.offpeak_multiplier, one.pricing_rule_version)
        is not distinct from
           (other.included_quota_bytes, other.base_price_per_byte, other.region_multiplier, other.line_multiplier,
            other.peak_multiplier, other.offpeak_multiplier, other.pricing_rule_version)
$$;

create or replace function billing_core.show_version(version billing_core.price_versions) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    shown account_read_model.account_billing_profiles := billing_core.profile_of(version);
begin
    insert into account_read_model.account_billing_profiles (
        account_uuid, included_quota_bytes, base_price_per_byte, region_multiplier, line_multiplier, peak_multiplier,
        offpeak_multiplier, pricing_rule_version)
    values (shown.account_uuid, shown.included_quota_bytes, shown.base_price_per_byte, shown.region_multiplier,
            shown.line_multiplier, shown.peak_multiplier, shown.offpeak_multiplier, shown.pricing_rule_version)
    on conflict (account_uuid) do update
    set included_quota_bytes = excluded.included_quota_bytes, base_price_per_byte = excluded.base_price_per_byte,
        region_multiplier = excluded.region_multiplier, line_multiplier = excluded.line_multiplier,
        peak_multiplier = excluded.peak_multiplier, offpeak_multiplier = excluded.offpeak_multiplier,
        pricing_rule_version = excluded.pricing_rule_version;
end $$;

-- Purpose: refuses a profile that is no price, and keeps the clock of the row. An erasure changes a name and is none.
create or replace function billing_core.check_profile() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    factor record;
    name record;
begin
    if tg_op = 'UPDATE' and coalesce(current_setting('billing_core.erases', true), '') <> '' then
        if billing_core.is_erasure(to_jsonb(old), to_jsonb(new)) then
            return new;
        end if;
    end if;
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
        if not coalesce(factor.value = 0 or factor.value >= 1e-40 and factor.value < 1e41, false) then
            raise exception 'account_billing_profiles: expected % of 0, or from 1e-40 to 1e40, got %; give a number',
                factor.name, coalesce(factor.value::text, 'null') using errcode = 'check_violation';
        end if;
    end loop;
    if not coalesce(new.included_quota_bytes >= 0, false) then
        raise exception 'account_billing_profiles: expected included_quota_bytes of 0 or more, got %; give bytes per billing period',
            coalesce(new.included_quota_bytes::text, 'null') using errcode = 'check_violation';
    end if;
    for name in
        select * from (values ('package_name', new.package_name),
                              ('pricing_rule_version', new.pricing_rule_version)) as n (name, value)
    loop
        if not coalesce(octet_length(name.value) <= 255, false) then
            raise exception 'account_billing_profiles: expected % of at most 255 bytes, got %; give a shorter name',
                name.name, coalesce(octet_length(name.value) || ' bytes', 'null') using errcode = 'check_violation';
        end if;
    end loop;
    new.updated_at := clock_timestamp();
    new.created_at := case when tg_op = 'UPDATE' then old.created_at else new.updated_at end;
    return new;
end $$;

-- Purpose: a profile as written is a dated version of scope account, from this minute or the first free one after it (R2).
-- What it touches is marked stale, so that the next `rate` finds it.
create or replace function billing_core.publish_profile() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '120s'
set extra_float_digits = 1 as $$
declare
    newest billing_core.price_versions;
    prior billing_core.price_versions;
    starts int := floor(extract(epoch from clock_timestamp()) / 60);
    run bigint;
begin
    select * into newest from billing_core.price_versions
    where meter_id = 1 and scope = 'account' and scope_key = new.account_uuid::text
    order by price_version_id desc limit 1;
    if found and pg_trigger_depth() > 1 then
        if billing_core.is_same_price(new, billing_core.profile_of(newest)) then
            return null;  -- written by show_version: it is published already
        end if;
    end if;
    if tg_op = 'UPDATE' then
        if billing_core.is_same_price(new, old) then
            return null;
        end if;
        if coalesce(current_setting('billing_core.erases', true), '') <> '' then
            if billing_core.is_erasure(to_jsonb(old), to_jsonb(new)) then
                return null;
            end if;
        end if;
    end if;
    if tg_op = 'UPDATE' then
        prior := newest;
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
