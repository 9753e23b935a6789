-- Purpose: resets, gaps, births, quarantine and findings. Grain: hour, source and kind. Parameters: start, end.
select hour, source_id, what, count(*) as cases, billing_core.capped(sum(total_bytes)) as total_bytes, meaning
from (
    select hour, source_id, reset_class as what, total_bytes,
           case reset_class when 'node_restart' then 'the node restarted: counted from zero'
                            else 'one counter fell: counted from zero, and a finding' end as meaning
    from billing.counter_resets
    union all
    select hour, source_id, gap_kind, total_bytes,
           case gap_kind when 'exporter_down' then 'no snapshots: bytes stay on the minute they arrived in'
                         else 'the series was away: bytes stay on the minute they arrived in' end
    from billing.usage_gaps
    union all
    select hour, source_id, 'quarantine: ' || reason, 0, 'put aside, not billed; the rest of the snapshot is'
    from billing.quarantine
    union all
    select to_timestamp(c.hour * 3600.0), o.source_id, 'born',
           c.first_uplink + c.first_downlink, 'appeared on a known node: its whole total is usage'
    from billing_core.closings c
    join billing_core.series s using (series_id)
    join billing_core.nodes n using (node_key)
    join billing_core.sources o using (source_key)
    where c.first_kind = 3 and not c.provisional
    union all
    select hour, source_id, 'finding: ' || kind, 0, 'see billing-etl findings list'
    from billing.findings where closed_at is null
) notable
where hour >= %(start)s and hour < %(end)s
group by hour, source_id, what, meaning
order by hour, source_id, what
