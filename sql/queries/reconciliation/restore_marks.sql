-- Purpose:    gives facts the revision and sealing number that the sealed events prove.
-- Grain:      one row per fact.
-- Parameters: series_ids int[], minutes int[], revisions smallint[], sealings smallint[] (parallel),
--             first_minute int, end_minute int (exclusive)
update billing_core.facts as fact
set revision = wanted.revision, sealing = wanted.sealing
from unnest(%(series_ids)s::int[], %(minutes)s::int[], %(revisions)s::smallint[], %(sealings)s::smallint[])
    as wanted (series_id, minute, revision, sealing)
where fact.series_id = wanted.series_id and fact.minute = wanted.minute
    and fact.minute >= %(first_minute)s and fact.minute < %(end_minute)s
