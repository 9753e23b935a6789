-- Purpose:    where the facts of an hour are archived; those of a day without any, with the archived day after it.
-- Grain:      archived day; none when the hour is not archived.
-- Parameters: hour int
select day, bucket, prefix, root, frozen_at, dropped_at, facts
from billing_core.archives
where day >= %(hour)s / 24
order by day
limit 1
