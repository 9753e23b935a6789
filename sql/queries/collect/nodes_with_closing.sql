-- Purpose: which nodes have a closing of a collected hour before an hour, however old (C4). Grain: node.
-- Parameters: node_keys[], hour.
select w.node_key
from unnest(%(node_keys)s::int[]) as w (node_key)
where exists (
    select from billing_core.series s
    where s.node_key = w.node_key and exists (
        select from billing_core.closings c
        where c.series_id = s.series_id and c.hour < %(hour)s and not c.provisional))
