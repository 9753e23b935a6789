-- Purpose: closes an open finding that the data no longer shows (C14). Grain: finding.
update billing_core.findings
set closed_at = clock_timestamp(), closed_run_id = %(run_id)s, resolution = 'withdrawn'
where source_key = %(source_key)s and hour = %(hour)s and kind = %(kind)s and subject = %(subject)s
  and closed_at is null
