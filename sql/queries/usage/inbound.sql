-- Purpose: usage and money of a range of hours by inbound, which only facts know.
-- Grain:   inbound. Ordered by bytes. totals_* are over all inbounds, also those beyond the limit.
-- Parameters: from_hour, to_hour (exclusive), account (null: all), region (null: all), limit (null: all).
with used as (
    select s.inbound_tag as key, f.uplink_quantity, f.downlink_quantity, f.uplink_quantity + f.downlink_quantity as quantity,
           case when f.rate_id <> 0 then f.included_quantity end as included_quantity,
           case when f.rate_id <> 0 then f.uplink_quantity + f.downlink_quantity - f.included_quantity end as rated_quantity,
           (f.uplink_quantity + f.downlink_quantity - f.included_quantity) * r.amount_per_unit as amount
    from billing_core.facts f
    join billing_core.series s using (series_id)
    join billing_core.nodes n using (node_key)
    join billing_core.accounts a using (account_key)
    left join billing_core.rates r on r.rate_id = f.rate_id
    where f.minute >= %(from_hour)s * 60 and f.minute < %(to_hour)s * 60 and s.meter_id = 1
      and (%(account)s::uuid is null or a.account_uuid = %(account)s::uuid)
      and (%(region)s::text is null or billing_core.region_at(n.source_key, f.minute) = %(region)s::text)
), grouped as (
    select key, sum(uplink_quantity) as uplink, sum(downlink_quantity) as downlink, sum(quantity) as total,
           coalesce(sum(included_quantity), 0) as included, coalesce(sum(rated_quantity), 0) as rated,
           trim_scale(sum(amount)) as amount
    from used
    group by key
)
select key, uplink, downlink, total, included, rated, amount, count(*) over () as keys, sum(uplink) over () as totals_uplink,
       sum(downlink) over () as totals_downlink, sum(total) over () as totals_total, sum(included) over () as totals_included,
       sum(rated) over () as totals_rated, trim_scale(sum(amount) over ()) as totals_amount
from grouped
order by total desc, key
limit %(limit)s
