-- Purpose:    latest result of each check of reconciliation of each hour.
-- Grain:      hour and check.
-- Parameters: start int, end int (hours, end exclusive)
select hour, check_name, status, checked_at
from billing_core.reconciliations
where hour >= %(start)s and hour < %(end)s
order by hour, check_name
