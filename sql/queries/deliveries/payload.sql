-- Purpose:    the exact bytes of a sealed object, gzip-compressed.
-- Grain:      one row.
-- Parameters: batch_id bigint
select payload from billing_core.batches where batch_id = %(batch_id)s
