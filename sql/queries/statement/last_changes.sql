-- Purpose:    when something of each hour was last written: collected, posted, sealed or delivered.
-- Grain:      hour.
-- Parameters: start int, end int (hours, end exclusive)
select hour, max(changed_at) as changed_at
from (
    select hour, changed_at
    from billing_core.source_hours
    where hour >= %(start)s and hour < %(end)s
    union all
    select hour, created_at
    from billing_core.ledger_entries
    where hour >= %(start)s and hour < %(end)s
    union all
    select hour, greatest(sealed_at, delivered_at)
    from billing_core.batches
    where hour >= %(start)s and hour < %(end)s
) as changes
group by hour
