-- Purpose:    facts per minute of a day.
-- Grain:      minute with facts.
-- Parameters: from_minute int, until_minute int (exclusive)
select minute, count(*) as facts
from billing_core.facts
where minute >= %(from_minute)s and minute < %(until_minute)s
group by minute
order by minute
