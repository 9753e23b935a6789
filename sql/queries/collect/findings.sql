-- Purpose: stored findings of given kinds of a source-hour. Grain: finding.
select kind, subject, closed_at is not null as closed, coalesce(resolution, '') as resolution
from billing_core.findings
where source_key = %(source_key)s and hour = %(hour)s and kind = any (%(kinds)s)
