-- Purpose: the newest closing before an hour, however old, per series (C4). Grain: series.
-- Parameters: series_ids[], hour.
select w.series_id, c.last_ns, c.last_uplink, c.last_downlink
from unnest(%(series_ids)s::int[]) as w (series_id)
cross join lateral (
    select last_ns, last_uplink, last_downlink from billing_core.closings
    where series_id = w.series_id and hour < %(hour)s
    order by hour desc limit 1
) c
