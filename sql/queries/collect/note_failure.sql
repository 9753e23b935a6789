-- Purpose: notes that a source-hour failed, outside its transaction: the hour stays visibly open.
-- Grain: source-hour. Conflict key: (source_key, hour).
with noted as (
    update billing_core.sources
    set last_attempted_at = clock_timestamp(), last_error = %(error)s
    where source_id = %(source_id)s
    returning source_key
)
insert into billing_core.failed_source_hours (source_key, hour, error, run_id)
select source_key, %(hour)s, %(error)s, %(run_id)s from noted
on conflict (source_key, hour) do update
set error = excluded.error, failed_at = clock_timestamp(), run_id = excluded.run_id
