-- Purpose:      says what a person should know of no single hour, for as long as it is so.
-- Grain:        one row per kind and subject.
-- Parameters:   kind text, subject text, message text, expected bigint, actual bigint, run_id bigint
-- Conflict key: (kind, source_key, hour, subject); one that was closed opens again.
insert into billing_core.findings as finding (kind, subject, message, expected, actual, run_id)
values (%(kind)s, %(subject)s, %(message)s, %(expected)s, %(actual)s, %(run_id)s)
on conflict (kind, coalesce(source_key, 0), coalesce(hour, -1), subject) do update
set
    message = excluded.message,
    actual = excluded.actual,
    run_id = excluded.run_id,
    opened_at = case when finding.closed_at is null then finding.opened_at else clock_timestamp() end,
    closed_at = null,
    closed_run_id = null,
    resolution = null
