-- Purpose:    resets, gaps, quarantine and open findings.
-- Grain:      what it is and of which kind.
-- Parameters: start int, end int (hours, end exclusive)
select what, kind, count(*) as cases, coalesce(sum(quantity), 0)::numeric as quantity
from (
    select
        'reset' as what, case when is_node_restart then 'node_restart' else 'single_series' end as kind,
        uplink_after::numeric + downlink_after as quantity
    from billing_core.counter_resets
    where hour >= %(start)s and hour < %(end)s
    union all
    select 'gap', case when series_id = 0 then 'exporter_down' else 'series_absent' end, quantity
    from billing_core.usage_gaps
    where hour >= %(start)s and hour < %(end)s
    union all
    select 'quarantine', reason, 0
    from billing_core.quarantine
    where hour >= %(start)s and hour < %(end)s
    union all
    select 'open finding', kind, 0
    from billing_core.findings
    where hour >= %(start)s and hour < %(end)s and closed_at is null
) as notable
group by what, kind
order by what desc, kind collate "C"
