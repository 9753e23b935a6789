-- Purpose:    buckets that sealed objects of an hour wait for.
-- Grain:      one row per bucket.
-- Parameters: hour int, meter_id int
select distinct bucket
from billing_core.batches
where hour = %(hour)s and meter_id = %(meter_id)s and delivered_at is null
order by bucket
