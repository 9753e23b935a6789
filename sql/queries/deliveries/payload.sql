-- Purpose:    the exact bytes of a sealed object, compressed with zstd, or with gzip by earlier versions.
-- Grain:      one row.
-- Parameters: batch_id bigint
select payload from billing_core.batches where batch_id = %(batch_id)s
