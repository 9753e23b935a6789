-- Purpose: opens a finding; one that was withdrawn by the data opens again, one that a person closed stays closed.
-- Conflict key: (kind, source_key, hour, subject).
insert into billing_core.findings as f (kind, source_key, hour, subject, message, expected, actual, run_id)
values (%(kind)s, %(source_key)s, %(hour)s, %(subject)s, %(message)s, %(expected)s, %(actual)s, %(run_id)s)
on conflict (kind, coalesce(source_key, 0), coalesce(hour, -1), subject) do update
set closed_at = null, closed_run_id = null, resolution = null, message = excluded.message,
    expected = excluded.expected, actual = excluded.actual, run_id = excluded.run_id, opened_at = clock_timestamp()
where f.closed_at is not null and f.resolution = 'withdrawn'
