-- Purpose: stored resets of a source-hour. Grain: series and instant.
select r.series_id, r.instant_ns, r.hour, r.is_node_restart, r.uplink_before, r.downlink_before,
       r.uplink_after, r.downlink_after
from billing_core.counter_resets r
join billing_core.series s using (series_id)
join billing_core.nodes n using (node_key)
where n.source_key = %(source_key)s and r.hour = %(hour)s
