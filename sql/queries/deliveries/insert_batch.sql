-- Purpose:    stores one object to send, byte for byte, before anything is sent.
-- Grain:      one row per batch or manifest.
-- Parameters: hour, meter_id, sealing, ordinal, kind, envelope, bucket, object_key, events,
--             net_quantity, first_minute, size_bytes, sha256, event_ids_sha256, payload, run_id
-- Conflict key: (hour, meter_id, sealing, kind, ordinal) and (bucket, object_key); a conflict is an error.
insert into billing_core.batches (
    hour, meter_id, sealing, ordinal, kind, envelope, bucket, object_key, events, net_quantity,
    first_minute, size_bytes, sha256, event_ids_sha256, payload, payload_sha256, run_id
)
values (
    %(hour)s, %(meter_id)s, %(sealing)s, %(ordinal)s, %(kind)s, %(envelope)s, %(bucket)s,
    %(object_key)s, %(events)s, %(net_quantity)s, %(first_minute)s, %(size_bytes)s, %(sha256)s,
    %(event_ids_sha256)s, %(payload)s, sha256(%(payload)s), %(run_id)s
)
