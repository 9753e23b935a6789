-- Purpose: account-hours with what was used before each in its billing period (R3, R4), and the net of its ledger entries (R5).
-- Grain:   hour. Parameters: account_key, meter_id, period_hour, period_end (exclusive).
select h.hour, h.quantity as bytes,
       coalesce(sum(h.quantity) over (order by h.hour rows between unbounded preceding and 1 preceding), 0) as used_before,
       h.rated, h.stale, h.included_quantity as included_bytes, h.quantity - h.included_quantity as rated_bytes,
       trim_scale(h.amount) as amount, coalesce(e.entries, 0) as entries, coalesce(e.rated_quantity, 0) as ledger_rated_bytes,
       trim_scale(coalesce(e.amount, 0)) as ledger_amount
from billing_core.account_hours h
left join (
    select l.hour, count(*) as entries, sum(l.rated_quantity) as rated_quantity, sum(l.amount) as amount
    from billing_core.ledger_entries l
    where l.account_key = %(account_key)s and l.hour >= %(period_hour)s and l.hour < %(period_end)s
    group by l.hour
) e using (hour)
where h.account_key = %(account_key)s and h.meter_id = %(meter_id)s
  and h.hour >= %(period_hour)s and h.hour < %(period_end)s
order by h.hour
