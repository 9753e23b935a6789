-- Purpose:    snapshots and quarantined samples as they are stored one by one.
-- Grain:      hour.
-- Parameters: start int, end int (hours, end exclusive)
select
    hour,
    sum(stored_snapshots)::bigint as stored_snapshots,
    sum(stored_samples)::bigint as stored_samples,
    sum(stored_quarantined)::bigint as stored_quarantined
from (
    select instant.hour, count(*) as stored_snapshots, sum(instant.samples) as stored_samples, 0 as stored_quarantined
    from billing_core.nodes as node
    join billing_core.node_instants as instant using (node_key)
    where instant.hour >= %(start)s and instant.hour < %(end)s and not instant.provisional
    group by instant.hour
    union all
    select hour, 0, 0, count(*)
    from billing_core.quarantine
    where hour >= %(start)s and hour < %(end)s
    group by hour
) as stored
group by hour
