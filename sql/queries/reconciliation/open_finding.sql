-- Purpose:      keeps a difference open until it is resolved; closed or not, it opens while it is there.
-- Grain:        one row per hour and check.
-- Parameters:   hour, check_name, message, expected, actual, run_id
-- Conflict key: (kind, source_key, hour, subject)
insert into billing_core.findings as finding (kind, hour, subject, message, expected, actual, run_id)
values (
    'reconciliation', %(hour)s, %(check_name)s, %(message)s, %(expected)s, %(actual)s, %(run_id)s
)
on conflict (kind, coalesce(source_key, 0), coalesce(hour, -1), subject) do update
set message = excluded.message,
    expected = excluded.expected,
    actual = excluded.actual,
    run_id = excluded.run_id,
    opened_at = case when finding.closed_at is null then finding.opened_at else clock_timestamp() end,
    closed_at = null,
    closed_run_id = null,
    resolution = null
