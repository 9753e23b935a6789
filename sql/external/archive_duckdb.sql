-- Purpose: archived facts (docs/maintenance.md, "Archive") as a view for DuckDB.
-- Grain:   usage_minutes_archived: series and minute, with the columns of billing.usage_minutes and what a fact has beyond
--          them; one object holds each fact once.
-- Use:     replace s3://serverless-usage-prod/ by bucket and BILLING_S3_PREFIX, or by a directory that the objects were
--          copied to. For S3 itself: install httpfs; load httpfs; create secret (type s3, provider credential_chain).
-- Sums:    sum(total_bytes) and sum(amount) are what billing.archives says of the day.
create or replace view usage_minutes_archived as
select *
from read_parquet(
    's3://serverless-usage-prod/archive/facts/date=*/*.parquet', hive_partitioning = true, hive_types = {'date': date}
);
