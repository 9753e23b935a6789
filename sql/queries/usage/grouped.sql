-- Purpose: usage and money of a range of hours, by one of hour, day, month (billing period), account or region.
-- Grain:   one key. Ordered by time, newest first, or by bytes. totals_* are over all keys, also those beyond the limit.
-- Parameters: by, from_hour, to_hour (exclusive), account (null: all), region (null: all), limit (null: all), anchor_day.
with used as (
    select case %(by)s
               when 'hour' then to_char(to_timestamp(u.hour * 3600.0) at time zone 'UTC', 'YYYY-MM-DD"T"HH24')
               when 'day' then to_char(to_timestamp(u.hour * 3600.0) at time zone 'UTC', 'YYYY-MM-DD')
               when 'month' then to_char(to_timestamp(billing_core.period_hour(u.hour, %(anchor_day)s) * 3600.0)
                                         at time zone 'UTC', 'YYYY-MM')
               when 'account' then u.account_uuid::text
               when 'region' then coalesce(u.region, '')
           end as key,
           u.uplink_quantity, u.downlink_quantity, u.quantity, u.included_quantity, u.rated_quantity, u.amount
    from billing_core.usage_by_hour u
    where u.hour >= %(from_hour)s and u.hour < %(to_hour)s
      and (%(account)s::uuid is null or u.account_uuid = %(account)s::uuid)
      and (%(region)s::text is null or u.region = %(region)s::text)
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
order by case when %(by)s in ('hour', 'day', 'month') then key end desc, total desc, key
limit %(limit)s
