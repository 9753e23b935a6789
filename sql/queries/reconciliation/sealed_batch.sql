-- Purpose:    one sealed object, without its payload.
-- Grain:      one row.
-- Parameters: batch_id bigint
select
    batch_id, sealing, kind, bucket, object_key, events, net_quantity, size_bytes, sha256,
    event_ids_sha256, delivered_at is not null, payload is not null
from billing_core.batches
where batch_id = %(batch_id)s
