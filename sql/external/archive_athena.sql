-- Purpose: archived facts (docs/maintenance.md, "Archive") as a table for Athena (or Trino on Hive).
-- Grain:   usage_minutes_archived: series and minute, with the columns of billing.usage_minutes and what a fact has beyond
--          them; one object holds each fact once.
-- Use:     replace s3://serverless-usage-prod/ by bucket and BILLING_S3_PREFIX. No crawler, no partitions to add: dates
--          are projected from the path.
-- Sums:    sum(total_bytes) and sum(amount) are what billing.archives says of the day.
create external table usage_minutes_archived (
    minute timestamp,
    event_type string,
    account_uuid string,
    source_id string,
    env string,
    node_id string,
    inbound_tag string,
    region string,
    uplink_bytes bigint,
    downlink_bytes bigint,
    total_bytes bigint,
    included_bytes bigint,
    rated_bytes bigint,
    unit_price decimal(38, 24),
    multiplier decimal(38, 24),
    amount decimal(38, 24),
    price_version string,
    spans_minutes int,
    is_reset boolean,
    revision int,
    sealing int,
    series_id int,
    rate_id int
)
partitioned by (`date` string)
stored as parquet
location 's3://serverless-usage-prod/archive/facts/'
tblproperties (
    'projection.enabled' = 'true',
    'projection.date.type' = 'date',
    'projection.date.format' = 'yyyy-MM-dd',
    'projection.date.range' = '2020-01-01,NOW',
    'projection.date.interval' = '1',
    'projection.date.interval.unit' = 'DAYS',
    'storage.location.template' = 's3://serverless-usage-prod/archive/facts/date=${date}/'
);
