-- Purpose: marks the rated account-hours that a version, or a plan membership, touches (R2). Grain: account-hour.
-- A quota also decides later hours of the period it was in force at the start of, so there is no upper end.
update billing_core.account_hours h
set stale = true
where h.meter_id = %(meter_id)s and h.hour >= %(from_hour)s and h.rated and not h.stale
  and (%(scope)s = 'default'
       or %(scope)s = 'account' and h.account_key = (
           select account_key from billing_core.accounts where account_uuid::text = %(scope_key)s)
       or %(scope)s = 'plan' and h.account_key in (
           select account_key from billing_core.plan_members where plan = %(scope_key)s))
