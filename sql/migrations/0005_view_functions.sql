-- Purpose: look-ups that the analyst views share.

-- An instant in nanoseconds as a timestamp, cut to the microseconds that it can hold.
create function billing_core.instant(ns bigint) returns timestamptz language sql immutable as $$
    select timestamptz 'epoch' + (ns / 1000) * interval '1 microsecond'
$$;

-- Region of a source at a minute (R2).
create function billing_core.region_at(source bigint, at_minute int) returns text language sql stable as $$
    select r.region from billing_core.source_regions r
    where r.source_key = source and r.from_minute <= at_minute
    order by r.from_minute desc limit 1
$$;

-- Day of the month on which billing periods start, as first taken from the environment.
create function billing_core.anchor_day() returns int language sql stable as $$
    select coalesce((select value::numeric::int from billing_core.seeded_settings
                     where name = 'BILLING_PERIOD_ANCHOR_DAY'), 1)
$$;

-- Included quota of an account in a period: the narrowest one in force at its first minute (R3).
create function billing_core.included_quota(account int, period_hour int) returns bigint language sql stable as $$
    select coalesce((
        select v.included_quota
        from (
            select distinct on (p.scope) p.scope, p.included_quota
            from billing_core.price_versions p
            where p.meter_id = 1 and p.from_minute <= period_hour * 60
              and (p.scope = 'default'
                   or p.scope = 'account' and p.scope_key = (
                       select a.account_uuid::text from billing_core.accounts a where a.account_key = account)
                   or p.scope = 'plan' and p.scope_key = (
                       select m.plan from billing_core.plan_members m
                       where m.account_key = account and m.from_minute <= period_hour * 60
                       order by m.from_minute desc limit 1))
            order by p.scope, p.from_minute desc
        ) v
        where v.included_quota is not null
        order by array_position(array['account', 'plan', 'default'], v.scope)
        limit 1), 0)
$$;
