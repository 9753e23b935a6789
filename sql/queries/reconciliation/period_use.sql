-- Purpose:    what accounts of an hour have used in its billing period: of the included quota, and before the hour (R3, R4).
-- Grain:      one row per account; waits: an hour before this one is still to be rated (again).
-- Parameters: hour int, meter_id int, period_start int, period_end int (hours, end exclusive)
select
    account.account_uuid::text,
    coalesce(sum(used.included_quantity) filter (where used.rated and not used.stale), 0)::numeric,
    coalesce(sum(used.quantity) filter (where used.hour < %(hour)s), 0)::numeric,
    coalesce(
        bool_or(used.stale and (used.rated or used.quantity > 0)) filter (where used.hour < %(hour)s), false
    )
from billing_core.account_hours as present
join billing_core.account_hours as used
    on used.account_key = present.account_key and used.meter_id = present.meter_id
    and used.hour >= %(period_start)s and used.hour < %(period_end)s
join billing_core.accounts as account on account.account_key = present.account_key
where present.hour = %(hour)s and present.meter_id = %(meter_id)s
group by account.account_uuid
