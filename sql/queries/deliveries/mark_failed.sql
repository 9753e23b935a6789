-- Purpose:    records a failed attempt; the object stays pending.
-- Grain:      one row.
-- Parameters: batch_id bigint, error text
update billing_core.batches
set attempts = attempts + 1, last_error = %(error)s
where batch_id = %(batch_id)s and delivered_at is null
