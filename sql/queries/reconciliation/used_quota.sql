-- Purpose:    included quantity that accounts of an hour have used in its billing period (R3).
-- Grain:      one row per account.
-- Parameters: hour int, meter_id int, period_start int, period_end int (hours, end exclusive)
select account.account_uuid::text, sum(used.included_quantity)::numeric
from billing_core.account_hours as used
join billing_core.accounts as account using (account_key)
where used.meter_id = %(meter_id)s
    and used.hour >= %(period_start)s and used.hour < %(period_end)s
    and used.rated and not used.stale
    and exists (
        select from billing_core.account_hours as present
        where present.account_key = used.account_key and present.meter_id = used.meter_id
            and present.hour = %(hour)s
    )
group by account.account_uuid
