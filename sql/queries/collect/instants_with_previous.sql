-- Purpose: snapshots that a source-hour was collected with, each with its node's snapshot before it (C9, C14). What
-- look-back found in the hour later is for the hours after it. Grain: node and instant.
select i.node_key, i.instant_ns, i.compared, i.fell, i.quantity,
       coalesce((select p.instant_ns from billing_core.node_instants p
                 where p.node_key = i.node_key and p.instant_ns < i.instant_ns
                   and not (p.provisional and p.hour = i.hour)
                 order by p.instant_ns desc limit 1), 0) as prev_ns,
       i.samples
from billing_core.node_instants i
join billing_core.nodes n using (node_key)
where n.source_key = %(source_key)s and i.hour = %(hour)s and not i.provisional
order by i.node_key, i.instant_ns
