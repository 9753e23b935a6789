-- Purpose:      keeps the latest result of a check of an hour.
-- Grain:        one row per hour and check.
-- Parameters:   hour, check_name, expected, actual, difference, status, repaired, details, run_id
-- Conflict key: (hour, check_name); the newer result replaces the older one.
insert into billing_core.reconciliations (
    hour, check_name, expected, actual, difference, status, repaired, details, run_id
)
values (
    %(hour)s, %(check_name)s, %(expected)s, %(actual)s, %(difference)s, %(status)s, %(repaired)s,
    %(details)s, %(run_id)s
)
on conflict (hour, check_name) do update
set (expected, actual, difference, status, repaired, details, checked_at, run_id) = (
    excluded.expected, excluded.actual, excluded.difference, excluded.status, excluded.repaired,
    excluded.details, clock_timestamp(), excluded.run_id
)
