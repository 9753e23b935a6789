-- Purpose:    amounts of rated facts against the net of the ledger (invariant 3).
-- Grain:      one row per account whose hour is rated and not stale.
-- Parameters: hour int, meter_id int, first_minute int, end_minute int (exclusive)
with facts as (
    select
        series.account_key,
        sum(fact.uplink_quantity + fact.downlink_quantity - fact.included_quantity) as rated_quantity,
        sum(
            (fact.uplink_quantity + fact.downlink_quantity - fact.included_quantity) * rate.amount_per_unit
        ) as amount
    from billing_core.facts as fact
    join billing_core.series using (series_id)
    join billing_core.rates as rate using (rate_id)
    where fact.minute >= %(first_minute)s and fact.minute < %(end_minute)s
        and series.meter_id = %(meter_id)s
    group by series.account_key
),
ledger as (
    select account_key, sum(rated_quantity) as rated_quantity, sum(amount) as amount
    from billing_core.ledger_entries
    where hour = %(hour)s and meter_id = %(meter_id)s
    group by account_key
)
select
    account.account_uuid::text,
    coalesce(facts.rated_quantity, 0)::numeric,
    coalesce(ledger.rated_quantity, 0)::numeric,
    coalesce(facts.amount, 0),
    coalesce(account_hours.amount, 0),
    coalesce(ledger.amount, 0)
from facts
full join ledger using (account_key)
join billing_core.accounts as account using (account_key)
left join billing_core.account_hours
    on account_hours.account_key = account.account_key
    and account_hours.hour = %(hour)s and account_hours.meter_id = %(meter_id)s
where coalesce(account_hours.rated and not account_hours.stale, true)
