-- Purpose: what waits to be rated is found by account, so that who writes an hour looks at that of its own accounts only,
--          however much of all others waits.
-- Grain:   account, meter and hour.

drop index billing_core.account_hours_stale;
create index account_hours_stale on billing_core.account_hours (account_key, hour) where stale;
