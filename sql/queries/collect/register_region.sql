-- Purpose: keeps the region that a source's setting names, and dates it (R2): the first one since ever, a change of the
-- setting from this hour on. Where the setting was not kept yet and the source has a region, nothing is dated.
-- Grain: source and minute. Conflict key: (source_key, from_minute), replaced.
-- Parameters: source_id, region, now_hour.
with changed as (
    update billing_core.sources s
    set setting_region = %(region)s
    from (select source_key, setting_region from billing_core.sources where source_id = %(source_id)s) before
    where s.source_key = before.source_key and before.setting_region is distinct from %(region)s
    returning s.source_key, before.setting_region is null as is_first
)
insert into billing_core.source_regions as r (source_key, from_minute, region)
select c.source_key, case when c.is_first then 0 else %(now_hour)s * 60 end, %(region)s
from changed c
where not c.is_first
   or not exists (select from billing_core.source_regions d where d.source_key = c.source_key)
on conflict (source_key, from_minute) do update set region = excluded.region
