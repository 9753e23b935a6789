-- Purpose:    gives what waits for a bucket that is gone to another one, under the same keys.
-- Grain:      one row per object.
-- Parameters: hour int, meter_id int, gone text, bucket text
update billing_core.batches
set bucket = %(bucket)s
where hour = %(hour)s and meter_id = %(meter_id)s and bucket = %(gone)s and delivered_at is null
returning object_key
