-- Purpose: measured values of a source's stored facts within some minutes. Grain: series and minute.
-- Parameters: source_key, from_minute, until_minute (exclusive).
select f.uplink_quantity, f.downlink_quantity, f.series_id, f.minute, f.spans_minutes, f.is_reset
from billing_core.facts f
join billing_core.series s using (series_id)
join billing_core.nodes n using (node_key)
where n.source_key = %(source_key)s and f.minute >= %(from_minute)s and f.minute < %(until_minute)s
