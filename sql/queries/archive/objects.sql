-- Purpose:    verified objects of a day.
-- Grain:      object.
-- Parameters: day int
select ordinal, object_key, facts, size_bytes, sha256
from billing_core.archive_objects
where day = %(day)s
order by ordinal
