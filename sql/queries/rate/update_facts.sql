-- Purpose: writes ratings that differ. Grain: series and minute. {staged}: temporary table of changed ratings.
-- Parameters: from_minute, until_minute (exclusive): of those rows, so that few partitions are looked at.
update billing_core.facts f
set included_quantity = s.included_quantity, rate_id = s.rate_id
from {staged} s
where f.series_id = s.series_id and f.minute = s.minute
  and f.minute >= %(from_minute)s and f.minute < %(until_minute)s
