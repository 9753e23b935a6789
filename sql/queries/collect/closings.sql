-- Purpose: stored closings of a source-hour, provisional ones too. Grain: series.
select c.first_ns, c.first_uplink, c.first_downlink, c.last_ns, c.last_uplink, c.last_downlink,
       c.prev_ns, c.prev_uplink, c.prev_downlink, c.series_id, c.hour, c.first_kind,
       c.reset_after_first, c.provisional
from billing_core.closings c
join billing_core.series s using (series_id)
join billing_core.nodes n using (node_key)
where n.source_key = %(source_key)s and c.hour = %(hour)s
