-- Purpose: where facts lie that are not in the database any more
-- Grain:   archived day
create or replace view billing.archives as
select to_timestamp(a.day * 86400.0) as day, 's3://' || a.bucket || '/' || a.prefix as place,
       case when a.dropped_at is null then 'frozen' else 'archived' end as state,
       o.objects, coalesce(a.facts, o.facts) as facts, o.object_bytes,
       coalesce(a.uplink_quantity, o.uplink) as uplink_bytes, coalesce(a.downlink_quantity, o.downlink) as downlink_bytes,
       coalesce(a.included_quantity, o.included) as included_bytes, trim_scale(coalesce(a.amount, o.amount)) as amount,
       o.verified_at, a.dropped_at, encode(a.root, 'hex') as statement_root, a.run_id
from billing_core.archives a
cross join lateral (
    select count(*) as objects, coalesce(sum(x.facts), 0)::bigint as facts, coalesce(sum(x.size_bytes), 0)::bigint as object_bytes,
           coalesce(sum(x.uplink_quantity), 0) as uplink, coalesce(sum(x.downlink_quantity), 0) as downlink,
           coalesce(sum(x.included_quantity), 0) as included, coalesce(sum(x.amount), 0) as amount,
           max(x.verified_at) as verified_at
    from billing_core.archive_objects x where x.day = a.day
) o;
comment on view billing.archives is 'Days whose facts lie on S3 as Parquet. Grain: one row per UTC day that is archived, or frozen to be archived. Source: `billing-etl maintain`, which read every object back before it dropped the facts.';
comment on column billing.archives.day is 'Start of the day, UTC.';
comment on column billing.archives.place is 'Directory of its objects, part-00001.parquet and so on; sql/external has statements to query them.';
comment on column billing.archives.state is 'archived: the facts are on S3 only; frozen: still in the database, and not to be changed any more.';
comment on column billing.archives.objects is 'Count of objects that were read back and found right.';
comment on column billing.archives.facts is 'Count of facts in them; of an archived day all it had.';
comment on column billing.archives.object_bytes is 'Size of the objects in bytes; not usage.';
comment on column billing.archives.uplink_bytes is 'Bytes up of these facts.';
comment on column billing.archives.downlink_bytes is 'Bytes down of these facts.';
comment on column billing.archives.included_bytes is 'Bytes of these facts that the included quota covered (R3).';
comment on column billing.archives.amount is 'Amount of these facts in the currency of the price book, exact (R1).';
comment on column billing.archives.verified_at is 'When the last object was read back, UTC; null: none was.';
comment on column billing.archives.dropped_at is 'When the facts left the database, UTC; null: they are there.';
comment on column billing.archives.statement_root is 'SHA-256 over all inputs of the day''s statement when it was archived, hexadecimal (docs/statement.md).';
comment on column billing.archives.run_id is 'Identifier of the run that froze it.';
