-- Purpose: counters that fell, and stretches without snapshots or samples.
-- Grain:   source and kind, most cases first.
-- Parameters: from_hour, to_hour (exclusive), limit.
select o.source_id, e.kind, count(*) as cases, billing_core.capped(sum(e.quantity)) as total_bytes, to_timestamp(max(e.hour) * 3600.0) as last_hour
from (
    select s.node_key, r.hour, case when r.is_node_restart then 'node_restart' else 'single_series' end as kind,
           r.uplink_after::numeric + r.downlink_after as quantity
    from billing_core.counter_resets r
    join billing_core.series s using (series_id)
    where r.hour >= %(from_hour)s and r.hour < %(to_hour)s
    union all
    select g.node_key, g.hour, case when g.series_id = 0 then 'exporter_down' else 'series_absent' end, g.quantity
    from billing_core.usage_gaps g
    where g.hour >= %(from_hour)s and g.hour < %(to_hour)s
) e
join billing_core.nodes n using (node_key)
join billing_core.sources o using (source_key)
group by o.source_id, e.kind
order by cases desc, o.source_id, e.kind
limit %(limit)s
