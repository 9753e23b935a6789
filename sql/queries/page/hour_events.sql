-- Purpose: what is unusual about one hour of a source: resets, gaps, quarantined samples, open findings.
-- Grain:   kind, with one line for people where there is one.
-- Parameters: source_id, hour.
select e.kind, count(*) as cases, left(max(e.message), 1000) as message
from billing_core.sources o
cross join lateral (
    select case when r.is_node_restart then 'node_restart' else 'single_series' end as kind, null as message
    from billing_core.counter_resets r
    join billing_core.series s using (series_id)
    join billing_core.nodes n on n.node_key = s.node_key and n.source_key = o.source_key
    where r.hour = %(hour)s
    union all
    select case when g.series_id = 0 then 'exporter_down' else 'series_absent' end, null
    from billing_core.usage_gaps g
    join billing_core.nodes n on n.node_key = g.node_key and n.source_key = o.source_key
    where g.hour = %(hour)s
    union all
    select 'quarantine: ' || q.reason, null
    from billing_core.quarantine q
    where q.source_key = o.source_key and q.hour = %(hour)s
    union all
    select 'finding: ' || f.kind, f.message
    from billing_core.findings f
    where f.source_key = o.source_key and f.hour = %(hour)s and f.closed_at is null
) e
where o.source_id = %(source_id)s
group by e.kind
order by e.kind
