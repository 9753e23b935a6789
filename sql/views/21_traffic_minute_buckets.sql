-- Purpose: usage by minute, as account services read it
-- Grain:   minute, node, account, region and line
create or replace view account_read_model.traffic_minute_buckets as
select u.minute as bucket_start, u.env || ':' || u.node_id as node_id, u.account_uuid, coalesce(u.region, '') as region,
       u.inbound_tag as line_code, billing_core.capped(sum(u.uplink_bytes)) as uplink_bytes,
       billing_core.capped(sum(u.downlink_bytes)) as downlink_bytes, billing_core.capped(sum(u.total_bytes)) as total_bytes,
       coalesce(max(u.multiplier), 1)::double precision as multiplier,
       case when bool_or(u.unit_price is null) then 'pending'
            when bool_or(u.is_stale) then 'pending_reconcile'
            else 'rated' end as rating_status,
       max(u.revision)::text as source_revision, u.minute + interval '1 minute' as created_at,
       coalesce(max(h.changed_at), u.minute + interval '1 minute') as updated_at
from billing.usage_minutes u
join billing_core.sources o using (source_id)
left join billing_core.source_hours h
    on h.source_key = o.source_key and h.hour = (floor(extract(epoch from u.minute) / 3600))::int
group by u.minute, 2, u.account_uuid, 4, u.inbound_tag;
comment on view account_read_model.traffic_minute_buckets is 'Usage by minute. Grain: one row per minute, node, account, region and line with bytes; facts of two sources that serve one node on purpose (C15) are summed. Source: billing.usage_minutes, without archived days (billing.archives).';
comment on column account_read_model.traffic_minute_buckets.bucket_start is 'Start of the minute of the later sample, UTC (C8).';
comment on column account_read_model.traffic_minute_buckets.node_id is 'env:node of the snapshots (C2).';
comment on column account_read_model.traffic_minute_buckets.account_uuid is 'Account, as the samples name it.';
comment on column account_read_model.traffic_minute_buckets.region is 'Region of the source at that minute (R2); empty: none is known.';
comment on column account_read_model.traffic_minute_buckets.line_code is 'Inbound of the node, as the sample names it; the line that prices are looked up for (R2).';
comment on column account_read_model.traffic_minute_buckets.uplink_bytes is 'Bytes up in the minute.';
comment on column account_read_model.traffic_minute_buckets.downlink_bytes is 'Bytes down in the minute.';
comment on column account_read_model.traffic_minute_buckets.total_bytes is 'Bytes up and down in the minute.';
comment on column account_read_model.traffic_minute_buckets.multiplier is 'Factor on the price: region x line x (peak or off-peak); 1 while pending. Facts summed here have the same one: region, line, minute and account are the same.';
comment on column account_read_model.traffic_minute_buckets.rating_status is 'pending: not rated yet; pending_reconcile: rated, and usage or prices of the account-hour changed since; rated.';
comment on column account_read_model.traffic_minute_buckets.source_revision is 'Revision of the fact as it is delivered, a whole number as text: 1, more after corrections (delivery contract); of several the highest.';
comment on column account_read_model.traffic_minute_buckets.created_at is 'End of the minute, UTC: facts keep no time of their own, and none is made before it.';
comment on column account_read_model.traffic_minute_buckets.updated_at is 'When the stored source-hour last changed, UTC. Rating alone does not move it: see rating_status.';
