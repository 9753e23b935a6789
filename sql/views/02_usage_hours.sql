-- Purpose: usage and money by account, region and hour
-- Grain:   account, region and hour
create or replace view billing.usage_hours as
select u.account_uuid, u.region, date_trunc('hour', u.minute, 'UTC') as hour,
       billing_core.capped(sum(u.uplink_bytes)) as uplink_bytes, billing_core.capped(sum(u.downlink_bytes)) as downlink_bytes,
       billing_core.capped(sum(u.total_bytes)) as total_bytes, billing_core.capped(sum(u.included_bytes)) as included_bytes,
       billing_core.capped(sum(u.rated_bytes)) as rated_bytes, sum(u.amount) as amount
from billing.usage_minutes u
group by u.account_uuid, u.region, date_trunc('hour', u.minute, 'UTC');
comment on view billing.usage_hours is 'Usage in bytes and its amount per account, region and hour.';
comment on column billing.usage_hours.account_uuid is 'Account.';
comment on column billing.usage_hours.region is 'Region of the sources used.';
comment on column billing.usage_hours.hour is 'Start of the hour, UTC.';
comment on column billing.usage_hours.uplink_bytes is 'Bytes up.';
comment on column billing.usage_hours.downlink_bytes is 'Bytes down.';
comment on column billing.usage_hours.total_bytes is 'Bytes up and down.';
comment on column billing.usage_hours.included_bytes is 'Bytes covered by the included quota; null while nothing is rated.';
comment on column billing.usage_hours.rated_bytes is 'Bytes charged; null while nothing is rated.';
comment on column billing.usage_hours.amount is 'Amount of the rated bytes, exact; null while nothing is rated.';
