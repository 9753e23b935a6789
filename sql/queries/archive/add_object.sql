-- Purpose: writes down an object that was read back and holds exactly these facts. Grain: object.
-- Conflict key: (day, ordinal); another run that wrote the same down was a moment earlier.
insert into billing_core.archive_objects (
    day, ordinal, object_key, from_minute, until_minute, facts, uplink_quantity, downlink_quantity, included_quantity,
    amount, facts_sha256, size_bytes, sha256, etag, run_id)
values (
    %(day)s, %(ordinal)s, %(object_key)s, %(from_minute)s, %(until_minute)s, %(facts)s, %(uplink)s, %(downlink)s,
    %(included)s, %(amount)s, %(facts_sha256)s, %(size_bytes)s, %(sha256)s, %(etag)s, %(run_id)s)
on conflict (day, ordinal) do nothing
