-- Purpose:    the snapshots stored of a source-hour.
-- Grain:      one row per node and instant.
-- Parameters: source_id text, hour int
select node.env, node.node_id, instant.instant_ns, instant.samples, instant.content_hash
from billing_core.node_instants as instant
join billing_core.nodes as node using (node_key)
join billing_core.sources as source using (source_key)
where source.source_id = %(source_id)s and instant.hour = %(hour)s and not instant.provisional
