-- Purpose: usage and money by account, region and day
-- Grain:   account, region and day (UTC)
create or replace view billing.usage_days as
select h.account_uuid, h.region, date_trunc('day', h.hour, 'UTC') as day,
       billing_core.capped(sum(h.uplink_bytes)) as uplink_bytes, billing_core.capped(sum(h.downlink_bytes)) as downlink_bytes,
       billing_core.capped(sum(h.total_bytes)) as total_bytes, billing_core.capped(sum(h.included_bytes)) as included_bytes,
       billing_core.capped(sum(h.rated_bytes)) as rated_bytes, sum(h.amount) as amount
from billing.usage_hours h
group by h.account_uuid, h.region, date_trunc('day', h.hour, 'UTC');
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
