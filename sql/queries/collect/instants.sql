-- Purpose: stored snapshots of a source-hour, provisional ones too (C12, C13). Grain: node and instant.
select i.node_key, i.instant_ns, i.hour, i.samples, i.compared, i.fell, i.quantity, i.provisional, i.content_hash
from billing_core.node_instants i
join billing_core.nodes n using (node_key)
where n.source_key = %(source_key)s and i.hour = %(hour)s
