-- Purpose: opens findings; one that was withdrawn by the data opens again, one that a person closed stays closed.
-- Conflict key: (kind, source_key, hour, subject). Parameters: kinds[], subjects[], messages[], expected[], actual[]
-- (parallel), source_key, hour, run_id.
insert into billing_core.findings as f (kind, source_key, hour, subject, message, expected, actual, run_id)
select w.kind, %(source_key)s, %(hour)s, w.subject, w.message, w.expected, w.actual, %(run_id)s
from unnest(%(kinds)s::text[], %(subjects)s::text[], %(messages)s::text[], %(expected)s::numeric[],
            %(actual)s::numeric[]) as w (kind, subject, message, expected, actual)
on conflict (kind, coalesce(source_key, 0), coalesce(hour, -1), subject) do update
set closed_at = null, closed_run_id = null, resolution = null, message = excluded.message,
    expected = excluded.expected, actual = excluded.actual, run_id = excluded.run_id, opened_at = clock_timestamp()
where f.closed_at is not null and f.resolution = 'withdrawn'
