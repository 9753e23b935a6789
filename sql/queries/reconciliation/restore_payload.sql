-- Purpose:    stores the packed payload of a sealed object again, as it was proven by the stored object.
-- Grain:      one row.
-- Parameters: batch_id bigint, payload bytea
update billing_core.batches
set payload = %(payload)s, payload_sha256 = sha256(%(payload)s)
where batch_id = %(batch_id)s
