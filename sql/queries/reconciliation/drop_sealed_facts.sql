-- Purpose:    of facts that are as they were sealed last, no other sealed state is kept.
-- Grain:      one row per fact.
-- Parameters: series_ids int[], minutes int[] (parallel)
delete from billing_core.sealed_facts as sealed
using unnest(%(series_ids)s::int[], %(minutes)s::int[]) as wanted (series_id, minute)
where sealed.series_id = wanted.series_id and sealed.minute = wanted.minute
