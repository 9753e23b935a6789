-- Purpose: hours of a source before a given one that failed, are partial, or were never collected since its first.
-- Archived hours are not collected again. Grain: hour.
select g.hour
from billing_core.sources s
cross join lateral generate_series(greatest(s.checkpoint_hour, (select billing_core.archive_end())), %(before)s - 1) as g (hour)
left join billing_core.source_hours h on h.source_key = s.source_key and h.hour = g.hour
where s.source_id = %(source_id)s and coalesce(h.state, 'partial') = 'partial'
union
select f.hour
from billing_core.sources s
join billing_core.failed_source_hours f using (source_key)
where s.source_id = %(source_id)s and f.hour < %(before)s and f.hour >= (select billing_core.archive_end())
order by hour
