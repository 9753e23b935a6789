-- Purpose: other sources that already deliver one of these nodes (C15). Grain: node and source.
-- Parameters: source_key, envs[], node_ids[] (parallel).
select n.env, n.node_id, s.source_id
from billing_core.nodes n
join billing_core.sources s using (source_key)
join unnest(%(envs)s::text[], %(node_ids)s::text[]) as w (env, node_id) using (env, node_id)
where n.source_key <> %(source_key)s
