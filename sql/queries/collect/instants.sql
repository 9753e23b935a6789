-- Purpose: stored snapshots of a source-hour, provisional ones too (C12, C13). Grain: node and instant. A hash that was
-- damaged to another length is read all the same: it is then another one.
select i.node_key, i.instant_ns, i.hour, i.samples, i.compared, i.fell, i.quantity, i.provisional,
       substr(i.content_hash || '\x00000000000000000000000000000000'::bytea, 1, 16) as content_hash
from billing_core.node_instants i
join billing_core.nodes n using (node_key)
where n.source_key = %(source_key)s and i.hour = %(hour)s
