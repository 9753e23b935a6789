-- Purpose:    a manifest that was not sent yet names other buckets.
-- Grain:      one row.
-- Parameters: batch_id bigint, size_bytes bigint, sha256 bytea, payload bytea
update billing_core.batches
set size_bytes = %(size_bytes)s, sha256 = %(sha256)s, payload = %(payload)s
where batch_id = %(batch_id)s and kind = 'manifest' and delivered_at is null
