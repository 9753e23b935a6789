-- Purpose: moves samples between used and baselines when first deltas were judged again (C14, invariant 4).
-- Grain: source-hour.
update billing_core.source_hours
set used = used + baselines - %(baselines)s, baselines = %(baselines)s,
    changed_at = clock_timestamp(), run_id = %(run_id)s
where source_key = %(source_key)s and hour = %(hour)s and baselines <> %(baselines)s
