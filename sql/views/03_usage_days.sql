-- Purpose: usage and money by account, region and day
-- Grain:   account, region and day (UTC)

-- The day is written as the index on account_hours has it.
create or replace view billing.usage_days as
select u.account_uuid, u.region, to_timestamp((u.hour / 24) * 86400.0) as day,
       billing_core.capped(sum(u.uplink_quantity)) as uplink_bytes, billing_core.capped(sum(u.downlink_quantity)) as downlink_bytes,
       billing_core.capped(sum(u.quantity)) as total_bytes, billing_core.capped(sum(u.included_quantity)) as included_bytes,
       billing_core.capped(sum(u.rated_quantity)) as rated_bytes, sum(u.amount) as amount
from billing_core.usage_by_hour u
group by u.account_uuid, u.region, to_timestamp((u.hour / 24) * 86400.0);
comment on view billing.usage_days is 'Usage and its amount per day. Grain: one row per account, region and UTC day with bytes. Source: the facts of usage_minutes, summed.';
comment on column billing.usage_days.account_uuid is 'Account, as the samples name it.';
comment on column billing.usage_days.region is 'Region of the sources used, at the minute of each fact (R2).';
comment on column billing.usage_days.day is 'Start of the day, UTC.';
comment on column billing.usage_days.uplink_bytes is 'Bytes up in the day.';
comment on column billing.usage_days.downlink_bytes is 'Bytes down in the day.';
comment on column billing.usage_days.total_bytes is 'Bytes up and down in the day.';
comment on column billing.usage_days.included_bytes is 'Bytes covered by the included quota (R3), of what is rated; null while nothing is.';
comment on column billing.usage_days.rated_bytes is 'Bytes charged, of what is rated; null while nothing is.';
comment on column billing.usage_days.amount is 'Amount of the rated bytes in the currency of the price book, exact (R1); null while nothing is rated.';
