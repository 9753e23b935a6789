-- Purpose: what waits to be rated.
-- Grain:   one row. oldest_hour: null when nothing waits.
select count(*) as account_hours, to_timestamp(min(hour) * 3600.0) as oldest_hour
from billing_core.account_hours
where stale
