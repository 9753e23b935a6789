-- Purpose:    ledger entries that belong to each hour. Posted later: in another billing period than the hour's own,
--             as that was closed (R7).
-- Grain:      hour, type and whether it was posted later.
-- Parameters: start int, end int (hours, end exclusive), meter_id int, anchor_day int
select
    hour, entry_type, period_hour <> billing_core.period_hour(hour, %(anchor_day)s) as is_later, count(*) as entries,
    sum(rated_quantity)::numeric as rated_quantity, sum(amount) as amount
from billing_core.ledger_entries
where hour >= %(start)s and hour < %(end)s and meter_id = %(meter_id)s
group by hour, entry_type, is_later
order by hour, entry_type, is_later
