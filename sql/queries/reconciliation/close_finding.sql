-- Purpose:    closes the finding of a check that is clean again.
-- Grain:      one row per hour and check.
-- Parameters: hour int, check_name text, resolution text, run_id bigint
update billing_core.findings
set closed_at = clock_timestamp(), closed_run_id = %(run_id)s, resolution = %(resolution)s
where kind = 'reconciliation' and source_key is null and hour = %(hour)s
    and subject = %(check_name)s and closed_at is null
