-- Purpose: the series of some nodes with the newest closing before an hour, as far as one is found from another hour on
-- (C4): what is needed to compute facts while the hour is still being read. Grain: series, in order of its id.
-- Parameters: node_keys[], hour, from_hour, meter_id.
select s.series_id, s.account_key, s.node_key, a.account_uuid::text, s.inbound_tag, c.last_ns, c.last_uplink,
       c.last_downlink
from billing_core.series s
join billing_core.accounts a using (account_key)
cross join lateral (
    select last_ns, last_uplink, last_downlink from billing_core.closings
    where series_id = s.series_id and hour < %(hour)s and hour >= %(from_hour)s
    order by hour desc limit 1
) c
where s.node_key = any (%(node_keys)s) and s.meter_id = %(meter_id)s
order by s.series_id
