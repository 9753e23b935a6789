-- Purpose: stored facts of a source-hour. Grain: series and minute.
select f.uplink_quantity, f.downlink_quantity, f.included_quantity, f.series_id, f.minute, f.rate_id,
       f.spans_minutes, f.revision, f.sealing, f.is_reset
from billing_core.facts f
join billing_core.series s using (series_id)
join billing_core.nodes n using (node_key)
where n.source_key = %(source_key)s and f.minute >= %(hour)s * 60 and f.minute < (%(hour)s + 1) * 60
