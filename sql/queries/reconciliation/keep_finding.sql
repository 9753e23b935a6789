-- Purpose:      keeps a difference open until it is proven gone; closed or not, it opens while it is there.
-- Grain:        one row per hour, check and difference; one that stays as it is stays untouched.
-- Parameters:   hour, check_name, subject, message, measure, expected, actual, expected_value, actual_value,
--               difference, needs_deep, repair, run_id
-- Conflict key: (kind, source_key, hour, subject)
insert into billing_core.findings as finding (
    kind, hour, subject, message, expected, actual, run_id, check_name, measure, expected_value,
    actual_value, difference, needs_deep, repair
)
values (
    'reconciliation', %(hour)s, %(subject)s, %(message)s, %(expected)s, %(actual)s, %(run_id)s,
    %(check_name)s, %(measure)s, %(expected_value)s, %(actual_value)s, %(difference)s,
    %(needs_deep)s, %(repair)s
)
on conflict (kind, coalesce(source_key, 0), coalesce(hour, -1), subject) do update
set message = excluded.message,
    expected = excluded.expected,
    actual = excluded.actual,
    check_name = excluded.check_name,
    measure = excluded.measure,
    expected_value = excluded.expected_value,
    actual_value = excluded.actual_value,
    difference = excluded.difference,
    needs_deep = excluded.needs_deep,
    repair = excluded.repair,
    run_id = case when finding.closed_at is null then finding.run_id else excluded.run_id end,
    opened_at = case when finding.closed_at is null then finding.opened_at else clock_timestamp() end,
    closed_at = null,
    closed_run_id = null,
    resolution = null,
    repaired_run_id = null
where finding.closed_at is not null
    or (finding.message, finding.needs_deep, finding.repair)
    is distinct from (excluded.message, excluded.needs_deep, excluded.repair)
