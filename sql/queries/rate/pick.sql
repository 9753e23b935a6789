-- Purpose: account-hours to rate: unrated ones in the range and stale ones anywhere, then, for the
-- touched accounts, the rated hours after them in each touched period (R4). Locked in key order.
-- Grain: account, meter, hour. Parameters: from_hour, to_hour, anchor_day, meter_id.
with stale as materialized (
    select account_key, hour, billing_core.period_hour(hour, %(anchor_day)s) as period_hour
    from billing_core.account_hours
    where stale and meter_id = %(meter_id)s
      and (rated or hour >= %(from_hour)s and hour < %(to_hour)s)
), touched as materialized (
    select account_key, period_hour, min(hour) as hour from stale group by account_key, period_hour
)
select h.account_key, h.hour, billing_core.period_hour(h.hour, %(anchor_day)s)
from billing_core.account_hours h
where h.meter_id = %(meter_id)s and (h.rated or h.quantity > 0)
  and (exists (select from stale s where s.account_key = h.account_key and s.hour = h.hour)
       or h.rated and exists (
           select from touched t
           where t.account_key = h.account_key and h.hour > t.hour
             and h.hour < billing_core.next_period_hour(t.period_hour)))
order by h.account_key, h.hour
for update
