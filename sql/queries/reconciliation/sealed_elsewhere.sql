-- Purpose:    which of the given keys are of some other hour's sealed objects.
-- Grain:      one row per key.
-- Parameters: bucket text, keys text[]
select object_key from billing_core.batches
where bucket = %(bucket)s and object_key = any(%(keys)s)
