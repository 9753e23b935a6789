-- Purpose: writes ratings that differ. Grain: series and minute. {staged}: temporary table of changed ratings.
update billing_core.facts f
set included_quantity = s.included_quantity, rate_id = s.rate_id
from {staged} s
where f.series_id = s.series_id and f.minute = s.minute
