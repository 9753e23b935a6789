-- Purpose:    an archived day, or one whose facts are frozen.
-- Grain:      day.
-- Parameters: day int
select day, bucket, prefix, root, frozen_at, dropped_at, facts
from billing_core.archives
where day = %(day)s
