-- Purpose:    sealed objects that were not delivered yet, in the order to send them.
-- Grain:      one row per object; the manifest of a sealing after its batches.
-- Parameters: hour int, meter_id int
select batch_id, sealing, kind, bucket, object_key, events, size_bytes
from billing_core.batches
where hour = %(hour)s and meter_id = %(meter_id)s and delivered_at is null
order by sealing, kind, ordinal
