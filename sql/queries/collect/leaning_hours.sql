-- Purpose: later hours of a source whose first deltas leaned on an hour or on what stood before it (C14).
-- Grain: hour. Parameters: source_key, hour, node_keys[]. A node without a later snapshot has no later closing either:
-- mostly nothing is known after the hour, and then no series is looked at.
with seen_later as materialized (
    select w.node_key, later.hour
    from unnest(%(node_keys)s::int[]) as w (node_key)
    cross join lateral (
        select i.hour from billing_core.node_instants i
        where i.node_key = w.node_key and i.hour > %(hour)s and not i.provisional
        order by i.hour limit 1
    ) later
)
select distinct later.hour
from seen_later l
join billing_core.nodes n on n.node_key = l.node_key and n.source_key = %(source_key)s
join billing_core.series s on s.node_key = l.node_key
cross join lateral (
    select c.hour from billing_core.closings c
    where c.series_id = s.series_id and c.hour > %(hour)s and not c.provisional
    order by c.hour limit 1
) later
union
select hour from seen_later
order by 1
