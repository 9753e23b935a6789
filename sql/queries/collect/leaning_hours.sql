-- Purpose: later hours of a source whose first deltas leaned on an hour or on what stood before it (C14).
-- Grain: hour. Parameters: source_key, hour, node_keys[].
select distinct later.hour
from billing_core.nodes n
join billing_core.series s using (node_key)
cross join lateral (
    select c.hour from billing_core.closings c
    where c.series_id = s.series_id and c.hour > %(hour)s and not c.provisional
    order by c.hour limit 1
) later
where n.source_key = %(source_key)s and n.node_key = any (%(node_keys)s)
union
select later.hour
from unnest(%(node_keys)s::int[]) as w (node_key)
cross join lateral (
    select i.hour from billing_core.node_instants i
    where i.node_key = w.node_key and i.hour > %(hour)s and not i.provisional
    order by i.hour limit 1
) later
order by 1
