-- Purpose:    closes the open findings of a kind but those of what is still so.
-- Grain:      one row per subject.
-- Parameters: kind text, still text[], run_id bigint
update billing_core.findings
set
    closed_at = clock_timestamp(),
    closed_run_id = %(run_id)s,
    resolution = 'withdrawn'
where kind = %(kind)s and subject <> all(%(still)s) and closed_at is null
