-- Purpose:    records that the object store confirmed an object.
-- Grain:      one row.
-- Parameters: batch_id bigint
update billing_core.batches
set delivered_at = clock_timestamp(), attempts = attempts + 1, last_error = null
where batch_id = %(batch_id)s and delivered_at is null
