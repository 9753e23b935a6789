-- Purpose: later hours expect every node seen in the 72 hours before them (C12): corrects those that did not
-- know a node of an hour collected after them. An expected node without any snapshot in the hour leaves it
-- partial unless it was seen later; collecting the hour again then judges it by what is served.
-- Grain: source-hour. Parameters: source_key, hour, run_id.
with expected as (
    select h.hour, count(*) as nodes,
           count(*) filter (where not seen.present) as absent,
           count(*) filter (where not seen.present and not seen.later) as silent
    from billing_core.source_hours h
    join billing_core.nodes n on n.source_key = h.source_key
    cross join lateral (
        select exists (select from billing_core.node_instants i
                       where i.node_key = n.node_key and i.hour = h.hour and not i.provisional) as present,
               exists (select from billing_core.node_instants i
                       where i.node_key = n.node_key and i.hour >= h.hour - 72 and i.hour < h.hour) as before,
               exists (select from billing_core.node_instants i
                       where i.node_key = n.node_key and i.hour > h.hour) as later
    ) seen
    where h.source_key = %(source_key)s and h.hour > %(hour)s and h.hour <= %(hour)s + 72
      and (seen.present or seen.before)
    group by h.hour
)
update billing_core.source_hours h
set expected_snapshots = e.nodes * greatest(1, round(3600.0 / s.interval_seconds))::int,
    missing_minutes = case when e.absent > 0 then 60 else h.missing_minutes end,
    state = case when h.state = 'complete' and e.silent > 0 then 'partial' else h.state end,
    changed_at = clock_timestamp(), run_id = %(run_id)s
from expected e, billing_core.sources s
where h.source_key = %(source_key)s and h.hour = e.hour and s.source_key = h.source_key
  and h.expected_snapshots <> e.nodes * greatest(1, round(3600.0 / s.interval_seconds))::int
