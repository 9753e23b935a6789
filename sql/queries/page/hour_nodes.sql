-- Purpose: which minutes of an hour each node that is expected in it has no snapshot for (C12).
-- Grain:   node seen in the hour or in the 72 hours before it. missing: first minutes of the slots without a snapshot.
-- Parameters: source_id, hour, limit.
select n.env, n.node_id, n.snapshots, p.seconds / 60 as slot_minutes,
       array(select g.slot * p.seconds / 60
             from generate_series(0, (3599 / p.seconds)) as g (slot)
             where not exists (
                 select from billing_core.node_instants i
                 where i.node_key = n.node_key and i.hour = %(hour)s and not i.provisional
                   and (i.instant_ns - %(hour)s::bigint * 3600000000000) / (p.seconds * 1000000000::bigint) = g.slot)
             order by g.slot) as missing
from (
    select o.source_key, o.interval_seconds, n.node_key, n.env, n.node_id,
           (select count(*) from billing_core.node_instants i
            where i.node_key = n.node_key and i.hour = %(hour)s and not i.provisional) as snapshots,
           exists (select from billing_core.node_instants i
                   where i.node_key = n.node_key and i.hour >= %(hour)s - 72 and i.hour < %(hour)s) as before
    from billing_core.sources o
    join billing_core.nodes n using (source_key)
    where o.source_id = %(source_id)s
) n
cross join lateral (select greatest(n.interval_seconds, 60) as seconds) p
where n.snapshots > 0 or n.before
order by n.snapshots, n.env, n.node_id
limit %(limit)s
