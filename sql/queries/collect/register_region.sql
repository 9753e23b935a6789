-- Purpose: dates the region of a source (R2): the first one since ever, a change from this hour on.
-- Grain: source and minute. Conflict key: (source_key, from_minute).
insert into billing_core.source_regions as r (source_key, from_minute, region)
select s.source_key,
       case when latest.region is null then 0 else %(now_hour)s * 60 end,
       %(region)s
from billing_core.sources s
left join lateral (
    select region from billing_core.source_regions
    where source_key = s.source_key order by from_minute desc limit 1
) latest on true
where s.source_id = %(source_id)s and latest.region is distinct from %(region)s
on conflict (source_key, from_minute) do update set region = excluded.region
