-- Purpose:    open findings of a check of an hour.
-- Grain:      one row per finding.
-- Parameters: hour int, check_name text
select finding_id, subject, needs_deep
from billing_core.findings
where hour = %(hour)s and check_name = %(check_name)s and closed_at is null
