-- Purpose:    the Parquet files of one event type as views for DuckDB, and each event once.
-- Grain:      traffic_bytes_files: event as delivered; traffic_bytes: event, each id once.
-- Use:        replace s3://serverless-usage-prod/ by bucket and BILLING_S3_PREFIX, or by a directory that they were
--             copied to, and traffic_bytes by another event type. For S3 itself: install httpfs; load httpfs; create
--             secret (type s3, provider credential_chain).
-- Sums:       sum("usage") is the usage, corrections included, by any column; usage_total is not to be summed.
create or replace view traffic_bytes_files as
select *
from read_parquet(
    's3://serverless-usage-prod/parquet/traffic_bytes/date=*/hour=*/*.parquet',
    hive_partitioning = true,
    hive_types = {'date': date, 'hour': int}
);

create or replace view traffic_bytes as
select * exclude (copy)
from (
    select *, row_number() over (partition by "date", "hour", event_id order by revision) as copy
    from traffic_bytes_files
)
where copy = 1;
