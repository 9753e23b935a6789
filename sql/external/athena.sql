-- Purpose:    the Parquet files of one event type as a table for Athena (or Trino on Hive), and each event once.
-- Grain:      traffic_bytes_files: event as delivered; traffic_bytes: event, each id once.
-- Use:        replace s3://serverless-usage-prod/ by bucket and BILLING_S3_PREFIX, and traffic_bytes by another event
--             type for a second table. One statement at a time. No crawler, no partitions to add: date and hour are
--             projected from the path.
-- Sums:       sum("usage") is the usage, corrections included, by any column; `usage_total` is not to be summed.
create external table traffic_bytes_files (
    event_id string,
    revision int,
    corrects string,
    event_type string,
    minute timestamp,
    account_uuid string,
    source_id string,
    env string,
    node_id string,
    inbound_tag string,
    region string,
    uplink_bytes bigint,
    downlink_bytes bigint,
    `usage` bigint,
    usage_total bigint
)
partitioned by (`date` string, `hour` int)
stored as parquet
location 's3://serverless-usage-prod/parquet/traffic_bytes/'
tblproperties (
    'projection.enabled' = 'true',
    'projection.date.type' = 'date',
    'projection.date.format' = 'yyyy-MM-dd',
    'projection.date.range' = '2020-01-01,NOW+1DAYS',
    'projection.date.interval' = '1',
    'projection.date.interval.unit' = 'DAYS',
    'projection.hour.type' = 'integer',
    'projection.hour.range' = '0,23',
    'projection.hour.digits' = '2',
    'storage.location.template' = 's3://serverless-usage-prod/parquet/traffic_bytes/date=${date}/hour=${hour}/'
);

create or replace view traffic_bytes as
select
    event_id, revision, corrects, event_type, minute, account_uuid, source_id, env, node_id, inbound_tag, region,
    uplink_bytes, downlink_bytes, "usage", usage_total, "date", "hour"
from (
    select *, row_number() over (partition by "date", "hour", event_id order by revision) as copy
    from traffic_bytes_files
)
where copy = 1;
