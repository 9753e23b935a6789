-- Purpose:    the objects that the facts of an hour are archived in; of an hour without facts, the place of its day.
-- Grain:      object; none when the hour's facts are here.
-- Parameters: hour int
select 's3://' || a.bucket || '/' || coalesce(o.object_key, a.prefix) as place, a.dropped_at
from billing_core.archives as a
left join billing_core.archive_objects as o
    on o.day = a.day and o.from_minute < (%(hour)s + 1) * 60 and o.until_minute > %(hour)s * 60
where a.day = %(hour)s / 24 and a.dropped_at is not null
order by o.ordinal
