-- Purpose: account-hours to rate: unrated ones in the range and stale ones anywhere, then, for the
-- touched accounts, the rated hours after them in each touched period (R4). Locked in key order.
-- Grain: account, meter, hour. Parameters: from_hour, to_hour, anchor_day, meter_id. OFFSET 0: what follows is looked up
-- account by account; what is stored of all others costs nothing.
with stale as materialized (
    select account_key, hour, billing_core.period_hour(hour, %(anchor_day)s) as period_hour
    from billing_core.account_hours
    where stale and meter_id = %(meter_id)s
      and (rated or hour >= %(from_hour)s and hour < %(to_hour)s)
), touched as materialized (
    select account_key, period_hour, min(hour) as hour from stale group by account_key, period_hour
), wanted as materialized (
    select account_key, hour from stale
    union
    select f.account_key, f.hour
    from touched t
    cross join lateral (
        select account_key, hour from billing_core.account_hours
        where account_key = t.account_key and meter_id = %(meter_id)s and rated
          and hour > t.hour and hour < billing_core.next_period_hour(t.period_hour)
        offset 0
    ) f
)
select h.account_key, h.hour, billing_core.period_hour(h.hour, %(anchor_day)s)
from wanted w
join billing_core.account_hours h
    on h.account_key = w.account_key and h.hour = w.hour and h.meter_id = %(meter_id)s
where h.rated or h.quantity > 0
order by h.account_key, h.hour
for update of h
