-- Purpose:    what the statement of archived hours is made of, and where their facts lie.
-- Grain:      hour.
-- Parameters: start int, end int (hours, end exclusive)
select kept.hour, kept.numbers, kept.inputs, kept.amounts, 's3://' || archive.bucket || '/' || archive.prefix as place
from billing_core.archived_hours as kept
join billing_core.archives as archive on archive.day = kept.hour / 24
where kept.hour >= %(start)s and kept.hour < %(end)s
order by kept.hour
