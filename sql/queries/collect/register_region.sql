-- Purpose: dates the region that a source's setting names (R2): the first one since ever, a change of the setting from
-- this hour on. A region that was published stays until the setting changes.
-- Grain: source and minute. Conflict key: (source_key, from_minute).
with changed as (
    update billing_core.sources
    set setting_region = %(region)s
    where source_id = %(source_id)s and setting_region is distinct from %(region)s
    returning source_key
)
insert into billing_core.source_regions as r (source_key, from_minute, region)
select c.source_key,
       case when exists (select from billing_core.source_regions d where d.source_key = c.source_key)
            then %(now_hour)s * 60 else 0 end,
       %(region)s
from changed c
on conflict (source_key, from_minute) do update set region = excluded.region
