-- Purpose:    usage and money of an hour as its facts, its account-hours and the ledger say them (invariants 2 and 3),
--             and how many accounts differ. What waits to be rated is counted apart.
-- Grain:      one row.
-- Parameters: hour int, meter_id int
-- The day is written as the index on account_hours has it.
with facts as (
    select
        series.account_key,
        sum(fact.uplink_quantity + fact.downlink_quantity) as quantity,
        sum(fact.included_quantity) as included_quantity,
        sum(
            (fact.uplink_quantity + fact.downlink_quantity - fact.included_quantity) * rate.amount_per_unit
        ) as amount
    from billing_core.facts as fact
    join billing_core.series using (series_id)
    left join billing_core.rates as rate using (rate_id)
    where fact.minute >= %(hour)s::int * 60 and fact.minute < (%(hour)s::int + 1) * 60
        and series.meter_id = %(meter_id)s
    group by series.account_key
),
account_hours as (
    select
        account_key, quantity, included_quantity, amount,
        (stale or not rated) and (rated or quantity > 0) as is_due
    from billing_core.account_hours
    where hour = %(hour)s and meter_id = %(meter_id)s
        and to_timestamp((hour / 24) * 86400.0) = to_timestamp((%(hour)s::int / 24) * 86400.0)
),
ledger as (
    select account_key, sum(rated_quantity) as rated_quantity, sum(amount) as amount
    from billing_core.ledger_entries
    where hour = %(hour)s and meter_id = %(meter_id)s
    group by account_key
),
accounts as (
    select
        account_hours.account_key is not null as is_known,
        coalesce(account_hours.is_due, facts.account_key is not null) as is_due,
        coalesce(facts.quantity, 0) as fact_quantity,
        coalesce(facts.included_quantity, 0) as fact_included,
        coalesce(facts.amount, 0) as fact_amount,
        coalesce(account_hours.quantity, 0) as account_quantity,
        coalesce(account_hours.included_quantity, 0) as account_included,
        coalesce(account_hours.amount, 0) as account_amount,
        coalesce(ledger.rated_quantity, 0) as ledger_rated,
        coalesce(ledger.amount, 0) as ledger_amount
    from facts
    full join account_hours using (account_key)
    full join ledger using (account_key)
)
select
    count(*) filter (where is_known) as account_hours,
    count(*) filter (where is_due) as unrated_account_hours,
    coalesce(sum(fact_quantity) filter (where is_due), 0)::numeric as unrated_quantity,
    coalesce(sum(account_quantity), 0)::numeric as account_quantity,
    count(*) filter (where fact_quantity <> account_quantity) as quantity_differs,
    coalesce(sum(fact_included) filter (where not is_due), 0)::numeric as fact_included,
    coalesce(sum(account_included) filter (where not is_due), 0)::numeric as account_included,
    count(*) filter (where not is_due and fact_included <> account_included) as included_differs,
    coalesce(sum(ledger_rated) filter (where not is_due), 0)::numeric as ledger_rated,
    count(*) filter (
        where not is_due and fact_quantity <> account_included + ledger_rated
    ) as split_differs,
    coalesce(sum(fact_amount) filter (where not is_due), 0)::numeric as fact_amount,
    coalesce(sum(account_amount) filter (where not is_due), 0)::numeric as account_amount,
    count(*) filter (where not is_due and fact_amount <> account_amount) as amount_differs,
    coalesce(sum(ledger_amount) filter (where not is_due), 0)::numeric as ledger_amount,
    count(*) filter (where not is_due and account_amount <> ledger_amount) as ledger_differs
from accounts
