-- Purpose:      says that nothing is delivered while events wait, for as long as it is so.
-- Grain:        one row per event type.
-- Parameters:   event_type text, message text, backlog bigint, run_id bigint
-- Conflict key: (kind, source_key, hour, subject); one that was closed opens again.
insert into billing_core.findings as finding (kind, subject, message, expected, actual, run_id)
values ('delivery_stalled', %(event_type)s, %(message)s, 0, %(backlog)s, %(run_id)s)
on conflict (kind, coalesce(source_key, 0), coalesce(hour, -1), subject) do update
set
    message = excluded.message,
    actual = excluded.actual,
    run_id = excluded.run_id,
    opened_at = case when finding.closed_at is null then finding.opened_at else clock_timestamp() end,
    closed_at = null,
    closed_run_id = null,
    resolution = null
