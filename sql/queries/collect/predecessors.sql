-- Purpose: the newest closing before an hour and from another on, per series (C4). Grain: series.
-- Parameters: series_ids[], hour, from_hour: few partitions are planned for when it is not long ago.
select w.series_id, c.last_ns, c.last_uplink, c.last_downlink
from unnest(%(series_ids)s::int[]) as w (series_id)
cross join lateral (
    select last_ns, last_uplink, last_downlink from billing_core.closings
    where series_id = w.series_id and hour < %(hour)s and hour >= %(from_hour)s
    order by hour desc limit 1
) c
