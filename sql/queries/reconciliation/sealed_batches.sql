-- Purpose:    sealed objects of an hour, or one of them, without their payloads.
-- Grain:      one row per object, in sealing order.
-- Parameters: hour int, meter_id int, batch_id bigint (null: all of the hour)
select
    batch_id, sealing, kind, envelope, bucket, object_key, events, net_quantity, size_bytes, sha256,
    event_ids_sha256, delivered_at is not null, etag, payload is not null
from billing_core.batches
where hour = %(hour)s and meter_id = %(meter_id)s
    and (%(batch_id)s::bigint is null or batch_id = %(batch_id)s)
order by sealing, kind = 'manifest', kind, ordinal
