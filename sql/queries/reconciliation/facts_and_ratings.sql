-- Purpose:    facts of an hour against the account-hours that rating keeps (invariant 2).
-- Grain:      one row per account; a side that is not there is zero, a missing account-hour is due.
-- Due:        what `rate` would take up: unrated with facts, or changed since it was rated.
-- Parameters: hour int, meter_id int, first_minute int, end_minute int (exclusive)
with facts as (
    select
        series.account_key,
        sum(fact.uplink_quantity + fact.downlink_quantity) as quantity,
        sum(fact.uplink_quantity) as uplink_quantity,
        sum(fact.included_quantity) as included_quantity,
        count(*) filter (
            where fact.included_quantity < 0
            or fact.included_quantity > fact.uplink_quantity + fact.downlink_quantity
        ) as bad_splits,
        count(*) filter (where fact.rate_id = 0) as without_rate
    from billing_core.facts as fact
    join billing_core.series using (series_id)
    where fact.minute >= %(first_minute)s and fact.minute < %(end_minute)s
        and series.meter_id = %(meter_id)s
    group by series.account_key
),
account_hours as (
    select
        account_key,
        quantity,
        case when region_id <> 0 then uplink_quantity end as uplink_quantity,
        included_quantity,
        used_before,
        (stale or not rated) and (rated or quantity > 0) as is_due,
        stale
    from billing_core.account_hours
    where hour = %(hour)s and meter_id = %(meter_id)s
)
select
    account_key,
    account.account_uuid::text,
    coalesce(facts.quantity, 0)::numeric,
    coalesce(facts.uplink_quantity, 0)::numeric,
    coalesce(facts.included_quantity, 0)::numeric,
    coalesce(facts.bad_splits, 0),
    coalesce(facts.without_rate, 0),
    coalesce(account_hours.quantity, 0)::numeric,
    account_hours.uplink_quantity::numeric,
    coalesce(account_hours.included_quantity, 0)::numeric,
    account_hours.used_before,
    coalesce(account_hours.is_due, true),
    coalesce(account_hours.stale, false)
from facts
full join account_hours using (account_key)
join billing_core.accounts as account using (account_key)
