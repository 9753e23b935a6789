-- Purpose: the series of some nodes with the newest closing before an hour, as far as one is found from another hour on
-- (C4): what is needed to compute facts while the hour is still being read. Grain: series, in order of its id.
-- Parameters: node_keys[], hour, from_hour, meter_id, tags[]: of these series; tag is the place in it, counted from 1.
select c.last_ns, c.last_uplink, c.last_downlink, s.series_id, s.account_key, s.node_key, t.tag::int
from billing_core.series s
join unnest(%(tags)s::text[]) with ordinality as t (inbound_tag, tag) using (inbound_tag)
cross join lateral (
    select last_ns, last_uplink, last_downlink from billing_core.closings
    where series_id = s.series_id and hour < %(hour)s and hour >= %(from_hour)s
    order by hour desc limit 1
) c
where s.node_key = any (%(node_keys)s) and s.meter_id = %(meter_id)s
order by s.series_id
