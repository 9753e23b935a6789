-- Purpose: state of the pipeline as numbers for metrics. Grain: metric and value of its tag ('' without one).
-- Parameters: at timestamptz. Names are those of docs/metrics.md after `billing.`; what is over is told as zero.
with recent as (
    select s.source_id, h.state, h.quarantined
    from billing_core.source_hours h join billing_core.sources s using (source_key)
    where s.enabled and h.hour >= floor(extract(epoch from %(at)s) / 3600)::int - 72
),
waiting as (
    select count(*) as account_hours, min(hour) as hour from billing_core.account_hours where stale
)
select 'source.open_hours', s.source_id,
       (select count(*) from billing.source_hours h where h.source_id = s.source_id and h.state = 'partial')::float8
from billing_core.sources s where s.enabled
union all
select 'coverage.hours', w.state, count(r.state)
from unnest(array['complete', 'partial', 'lost']) as w (state) left join recent r using (state) group by w.state
union all
select 'quarantine.samples', s.source_id, coalesce(sum(r.quarantined), 0)
from billing_core.sources s left join recent r using (source_id) where s.enabled group by s.source_id
union all
select 'resets.series', case when w.is_node_restart then 'node_restart' else 'single_series' end, count(c.hour)
from (values (true), (false)) as w (is_node_restart)
left join billing_core.counter_resets c
    on c.is_node_restart = w.is_node_restart and c.hour >= floor(extract(epoch from %(at)s) / 3600)::int - 72
group by w.is_node_restart
union all
select 'rating.waiting_account_hours', '', account_hours from waiting
union all
select 'rating.lag_seconds', '', coalesce(greatest(extract(epoch from %(at)s - to_timestamp((hour + 1) * 3600.0)), 0), 0)
from waiting
union all
select 'alerts.open', a.rule, count(*) filter (where a.closed_at is null)
from billing_core.alerts a group by a.rule
