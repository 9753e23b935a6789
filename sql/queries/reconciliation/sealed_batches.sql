-- Purpose:    every sealed object of an hour, without its payload.
-- Grain:      one row per object, in sealing order.
-- Parameters: hour int, meter_id int
select
    batch_id, sealing, kind, bucket, object_key, events, net_quantity, size_bytes, sha256,
    event_ids_sha256, delivered_at is not null, payload is not null
from billing_core.batches
where hour = %(hour)s and meter_id = %(meter_id)s
order by sealing, kind, ordinal
