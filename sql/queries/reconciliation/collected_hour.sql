-- Purpose:    what is stored of a source-hour as a whole; no row: never collected.
-- Grain:      at most one row.
-- Parameters: source_id text, hour int
select source_hour.snapshots, source_hour.samples, source_hour.content_hash
from billing_core.source_hours as source_hour
join billing_core.sources as source using (source_key)
where source.source_id = %(source_id)s and source_hour.hour = %(hour)s
