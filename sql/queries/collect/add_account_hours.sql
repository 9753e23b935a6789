-- Purpose: adds changes of facts to their account-hours and marks them stale (R4); gives their usage then.
-- Grain: account, meter and hour. Conflict key: (account_key, meter_id, hour). Locks in key order.
-- Parameters: series_ids[], hours[], quantities[], uplinks[] of them (signed, parallel).
insert into billing_core.account_hours as h (account_key, meter_id, hour, quantity, uplink_quantity)
select s.account_key, s.meter_id, w.hour, sum(w.quantity), sum(w.uplink)
from unnest(%(series_ids)s::int[], %(hours)s::int[], %(quantities)s::bigint[], %(uplinks)s::bigint[])
     as w (series_id, hour, quantity, uplink)
join billing_core.series s using (series_id)
group by s.account_key, s.meter_id, w.hour
order by s.account_key, s.meter_id, w.hour
on conflict (account_key, meter_id, hour) do update
set quantity = h.quantity + excluded.quantity, uplink_quantity = h.uplink_quantity + excluded.uplink_quantity,
    stale = true
returning h.account_key, h.hour, h.quantity
