-- Purpose: keeps the thresholds of the settings, by which the view billing.objectives judges. Grain: rule.
-- Conflict key: rule. Parameters: rules[], units[], thresholds[] (parallel; null: off).
insert into billing_core.objectives as o (rule, unit, threshold)
select * from unnest(%(rules)s::text[], %(units)s::text[], %(thresholds)s::numeric[])
on conflict (rule) do update
set unit = excluded.unit, threshold = excluded.threshold, noted_at = clock_timestamp()
where (o.unit, o.threshold) is distinct from (excluded.unit, excluded.threshold)
