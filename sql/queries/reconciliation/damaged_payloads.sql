-- Purpose:    sealed payloads of an hour that are not, byte for byte, what was stored.
-- Grain:      one row per batch.
-- Parameters: hour int, meter_id int
select batch_id, encode(payload_sha256, 'hex'), encode(sha256(payload), 'hex')
from billing_core.batches
where hour = %(hour)s and meter_id = %(meter_id)s and payload is not null
    and payload_sha256 is distinct from sha256(payload)
