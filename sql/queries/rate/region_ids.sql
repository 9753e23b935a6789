-- Purpose: ids of regions, made where missing. Grain: region. Parameters: regions[].
with made as (
    insert into billing_core.regions (region)
    select w.region from unnest(%(regions)s::text[]) as w (region)
    where not exists (select from billing_core.regions r where r.region = w.region)
    order by 1
    on conflict (region) do nothing
    returning region, region_id
)
select region, region_id from made
union
select region, region_id from billing_core.regions where region = any (%(regions)s::text[])
