-- Purpose: usage and money by account, region and hour
-- Grain:   account, region and hour

-- The account-hours themselves say it where all of their facts are of one region and rated; others are summed from facts,
-- or were before these were archived.
create or replace view billing_core.usage_by_hour as
select a.account_uuid, r.region, h.hour, h.uplink_quantity, h.quantity - h.uplink_quantity as downlink_quantity,
       h.quantity, h.included_quantity, h.quantity - h.included_quantity as rated_quantity, h.amount
from billing_core.account_hours h
join billing_core.accounts a using (account_key)
join billing_core.regions r using (region_id)
where h.meter_id = 1 and h.quantity > 0 and not h.stale and h.region_id <> 0
union all
select f.account_uuid, f.region, f.hour, billing_core.capped(sum(f.uplink_quantity)),
       billing_core.capped(sum(f.downlink_quantity)), billing_core.capped(sum(f.quantity)),
       billing_core.capped(sum(f.included_quantity)), billing_core.capped(sum(f.rated_quantity)), sum(f.amount)
from (
    select a.account_uuid, billing_core.region_at(n.source_key, f.minute) as region, h.hour, f.uplink_quantity,
           f.downlink_quantity, f.uplink_quantity + f.downlink_quantity as quantity,
           case when f.rate_id <> 0 then f.included_quantity end as included_quantity,
           case when f.rate_id <> 0 then f.uplink_quantity + f.downlink_quantity - f.included_quantity end as rated_quantity,
           trim_scale((f.uplink_quantity + f.downlink_quantity - f.included_quantity) * t.amount_per_unit) as amount
    from billing_core.account_hours h
    join billing_core.accounts a using (account_key)
    join billing_core.series s on s.account_key = h.account_key and s.meter_id = h.meter_id
    join billing_core.nodes n using (node_key)
    join billing_core.facts f
        on f.series_id = s.series_id and f.minute >= h.hour * 60 and f.minute < (h.hour + 1) * 60
    left join billing_core.rates t on t.rate_id = f.rate_id
    where h.meter_id = 1 and (h.stale or h.region_id = 0)
) f
group by f.account_uuid, f.region, f.hour
union all
select a.account_uuid, k.region, k.hour, k.uplink_quantity, k.downlink_quantity, k.quantity, k.included_quantity,
       k.rated_quantity, k.amount
from billing_core.archived_usage k
join billing_core.accounts a using (account_key)
where k.meter_id = 1;

create or replace view billing.usage_hours as
select u.account_uuid, u.region, to_timestamp(u.hour * 3600.0) as hour, u.uplink_quantity as uplink_bytes,
       u.downlink_quantity as downlink_bytes, u.quantity as total_bytes, u.included_quantity as included_bytes,
       u.rated_quantity as rated_bytes, u.amount
from billing_core.usage_by_hour u;
comment on view billing.usage_hours is 'Usage and its amount per hour. Grain: one row per account, region and UTC hour with bytes. Source: the facts of usage_minutes, summed.';
comment on column billing.usage_hours.account_uuid is 'Account, as the samples name it.';
comment on column billing.usage_hours.region is 'Region of the sources used, at the minute of each fact (R2).';
comment on column billing.usage_hours.hour is 'Start of the hour, UTC.';
comment on column billing.usage_hours.uplink_bytes is 'Bytes up in the hour.';
comment on column billing.usage_hours.downlink_bytes is 'Bytes down in the hour.';
comment on column billing.usage_hours.total_bytes is 'Bytes up and down in the hour.';
comment on column billing.usage_hours.included_bytes is 'Bytes covered by the included quota (R3), of what is rated; null while nothing is.';
comment on column billing.usage_hours.rated_bytes is 'Bytes charged, of what is rated; null while nothing is.';
comment on column billing.usage_hours.amount is 'Amount of the rated bytes in the currency of the price book, exact (R1); null while nothing is rated.';
