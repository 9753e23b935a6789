-- Purpose:    closes the findings of event types that are delivered again, or that nothing waits of.
-- Grain:      one row per event type.
-- Parameters: event_types text[], run_id bigint
update billing_core.findings
set
    closed_at = clock_timestamp(),
    closed_run_id = %(run_id)s,
    resolution = 'withdrawn'
where kind = 'delivery_stalled' and subject = any(%(event_types)s) and closed_at is null
