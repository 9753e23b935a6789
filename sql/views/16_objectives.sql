-- Purpose: what is measured for each objective (docs/alerts.md)
-- Grain:   rule and subject
-- A function of the time, so that it can be asked for any other: the view is about now. per_second: by how much the value
-- grows by itself; then the moment it passed its threshold follows from it, else since says it.
create or replace function billing_core.objective_values(at timestamptz)
returns table (rule text, subject text, value numeric, since timestamptz, per_second numeric)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
with behind as (
    select s.source_key, s.source_id, b.base, extract(epoch from greatest(at - b.base, interval '0')) as lag_seconds
    from billing_core.sources s
    cross join lateral (
        select to_timestamp(3600.0 * coalesce(
            s.checkpoint_hour, s.first_hour,
            (select min(f.hour) from billing_core.failed_source_hours f where f.source_key = s.source_key))) as base
    ) b
    where s.enabled and b.base is not null
),
-- An hour is collected when it is over, so an exporter that is younger than four hours is not behind by half of what it has.
served as (
    select b.source_id, b.base, b.lag_seconds,
           greatest(coalesce(extract(epoch from r.asked_at - to_timestamp(r.oldest_ns / 1000000000.0)), 72 * 3600), 4 * 3600)
           as served_seconds
    from behind b left join billing_core.source_retention r using (source_key)
),
recent as (
    select s.source_id, sum(h.samples) as samples, sum(h.quarantined) as quarantined,
           min(h.hour) filter (where h.quarantined > 0) as first_hour
    from billing_core.sources s
    join billing_core.source_hours h using (source_key)
    where s.enabled and h.hour >= floor(extract(epoch from at) / 3600) - 24
      and h.hour <= floor(extract(epoch from at) / 3600)
    group by s.source_id
)
select 'fact_lag', source_id, lag_seconds, base, 1::numeric from behind
union all
select 'undelivered_age', event_type, coalesce(extract(epoch from greatest(at - waits_since, interval '0')), 0),
       waits_since, 1
from billing_core.delivery_health(at)
where state <> 'off'
union all
select 'open_findings', kind, count(*) filter (where closed_at is null), min(opened_at) filter (where closed_at is null), null
from billing_core.findings
group by kind
union all
select 'retention_used', source_id, round(lag_seconds / served_seconds, 6), base, 1 / served_seconds from served
union all
select 'unattributed_share', source_id, round(quarantined / nullif(samples, 0), 6), to_timestamp(first_hour * 3600.0), null
from recent
where samples > 0
$$;
create or replace view billing.objectives as
select v.rule, v.subject, v.value, o.unit, o.threshold, coalesce(v.value <= o.threshold, true) as is_met,
       case when v.value > o.threshold and v.per_second is not null
            then now() - make_interval(secs => ((v.value - o.threshold) / v.per_second)::float8)
            when v.value > o.threshold then v.since end as since
from billing_core.objective_values(now()) v
left join billing_core.objectives o using (rule);
comment on view billing.objectives is 'What is promised and what is, computed for now. Grain: one row per rule and subject. Source: checkpoints, delivery, findings, quarantine, and the thresholds of the last run that watched.';
comment on column billing.objectives.rule is 'fact_lag, undelivered_age, open_findings, retention_used or unattributed_share.';
comment on column billing.objectives.subject is 'Source, event type or kind of finding, as the rule needs.';
comment on column billing.objectives.value is 'What is measured, in seconds, as a count or as a share, as unit says.';
comment on column billing.objectives.unit is 'seconds, count or share (0 to 1); null: no run has watched yet.';
comment on column billing.objectives.threshold is 'The most that is fine, in seconds, as a count or as a share, from the settings; null: the rule is off, or no run has watched yet.';
comment on column billing.objectives.is_met is 'True: the value is not above the threshold, or there is none.';
comment on column billing.objectives.since is 'Since when it is above, UTC; null: it is not.';
