-- Purpose:    days of which a partition of facts or closings is missing.
-- Grain:      day since 1970.
-- Parameters: days int[]
select day
from unnest(%(days)s::int[]) as day
where exists (
    select from unnest(array['facts', 'closings']) as parent
    where to_regclass(
        'billing_core.' || parent || to_char(to_timestamp(day * 86400.0) at time zone 'UTC', '_YYYYMMDD')
    ) is null
)
order by day
