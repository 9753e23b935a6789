-- Purpose: marks the rated account-hours that a version, or a plan membership, touches (R2). Grain: account-hour.
-- A quota also decides later hours of the period it was in force at the start of, so there is no upper end.
-- Locks in key order, as collecting does: the two never hold each other up for good.
with touched as materialized (
    select h.account_key, h.meter_id, h.hour
    from billing_core.account_hours h
    where h.meter_id = %(meter_id)s and h.hour >= %(from_hour)s and h.rated and not h.stale
      and (%(scope)s = 'default'
           or %(scope)s = 'account' and h.account_key = (
               select account_key from billing_core.accounts where account_uuid::text = %(scope_key)s)
           or %(scope)s = 'plan' and h.account_key in (
               select account_key from billing_core.plan_members where plan = %(scope_key)s))
    order by h.account_key, h.meter_id, h.hour
    for update
)
update billing_core.account_hours h
set stale = true
from touched t
where h.account_key = t.account_key and h.meter_id = t.meter_id and h.hour = t.hour
