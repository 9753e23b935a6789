-- Purpose: stored gaps of a source-hour. Grain: node, series (0: the node itself) and end.
select g.node_key, g.series_id, g.until_ns, g.from_ns, g.hour, g.quantity
from billing_core.usage_gaps g
join billing_core.nodes n using (node_key)
where n.source_key = %(source_key)s and g.hour = %(hour)s
