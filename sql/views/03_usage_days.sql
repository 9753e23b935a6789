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
comment on view billing.usage_days is 'Usage in bytes and its amount per account, region and UTC day.';
comment on column billing.usage_days.account_uuid is 'Account.';
comment on column billing.usage_days.region is 'Region of the sources used.';
comment on column billing.usage_days.day is 'Start of the day, UTC.';
comment on column billing.usage_days.uplink_bytes is 'Bytes up.';
comment on column billing.usage_days.downlink_bytes is 'Bytes down.';
comment on column billing.usage_days.total_bytes is 'Bytes up and down.';
comment on column billing.usage_days.included_bytes is 'Bytes covered by the included quota; null while nothing is rated.';
comment on column billing.usage_days.rated_bytes is 'Bytes charged; null while nothing is rated.';
comment on column billing.usage_days.amount is 'Amount of the rated bytes, exact; null while nothing is rated.';
