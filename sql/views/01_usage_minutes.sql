-- Purpose: what each series used in each minute and how it was rated
-- Grain:   series and minute
create or replace view billing.usage_minutes as
select to_timestamp(f.minute * 60.0) as minute,
       o.source_id, n.env, n.node_id, a.account_uuid, s.inbound_tag,
       billing_core.region_at(n.source_key, f.minute) as region,
       f.uplink_quantity as uplink_bytes, f.downlink_quantity as downlink_bytes,
       f.uplink_quantity + f.downlink_quantity as total_bytes,
       case when f.rate_id <> 0 then f.included_quantity end as included_bytes,
       case when f.rate_id <> 0 then f.uplink_quantity + f.downlink_quantity - f.included_quantity end as rated_bytes,
       r.price_per_unit as unit_price, r.multiplier,
       trim_scale((f.uplink_quantity + f.downlink_quantity - f.included_quantity) * r.amount_per_unit) as amount,
       p.price_version, f.spans_minutes, f.is_reset, f.revision::int as revision,
       coalesce(h.stale, true) as is_stale
from billing_core.facts f
join billing_core.series s using (series_id)
join billing_core.nodes n using (node_key)
join billing_core.sources o using (source_key)
join billing_core.accounts a using (account_key)
left join billing_core.rates r on r.rate_id = f.rate_id
left join billing_core.price_versions p using (price_version_id)
left join billing_core.account_hours h
    on h.account_key = s.account_key and h.meter_id = s.meter_id and h.hour = f.minute / 60
where s.meter_id = 1;
comment on view billing.usage_minutes is 'Usage per series and minute with its rating. Grain: one row per series (source, env, node, account, inbound) and minute with bytes; minutes without bytes have no row (C10). Source: counters of exporters, collected (C8) and rated (R2, R3); minutes of archived days are in billing.archives.';
comment on column billing.usage_minutes.minute is 'Start of the minute of the later sample, UTC (C8).';
comment on column billing.usage_minutes.source_id is 'Source that was collected, as the settings name it.';
comment on column billing.usage_minutes.env is 'Environment, as the snapshot names it (C2).';
comment on column billing.usage_minutes.node_id is 'Node, as the snapshot names it (C2).';
comment on column billing.usage_minutes.account_uuid is 'Account, as the sample names it.';
comment on column billing.usage_minutes.inbound_tag is 'Inbound of the node, as the sample names it; the line that prices are looked up for (R2).';
comment on column billing.usage_minutes.region is 'Region of the source at that minute (R2).';
comment on column billing.usage_minutes.uplink_bytes is 'Bytes up in the minute.';
comment on column billing.usage_minutes.downlink_bytes is 'Bytes down in the minute.';
comment on column billing.usage_minutes.total_bytes is 'Bytes up and down in the minute.';
comment on column billing.usage_minutes.included_bytes is 'Bytes covered by the included quota (R3); null until rated.';
comment on column billing.usage_minutes.rated_bytes is 'Bytes charged; null until rated. included + rated = total unless is_stale.';
comment on column billing.usage_minutes.unit_price is 'Price of one byte before multipliers, in the currency of the price book; null until rated.';
comment on column billing.usage_minutes.multiplier is 'Factor on the price: region x line x (peak or off-peak); null until rated.';
comment on column billing.usage_minutes.amount is 'rated_bytes x unit_price x multiplier in the currency of the price book, exact (R1); null until rated.';
comment on column billing.usage_minutes.price_version is 'Name of the price version applied; null until rated.';
comment on column billing.usage_minutes.spans_minutes is 'Minutes that the deltas of this minute cover, the longest (C9); 1 is usual.';
comment on column billing.usage_minutes.is_reset is 'True: a counter restarted in this minute (C5).';
comment on column billing.usage_minutes.revision is 'Count of sealings of the fact when it was, or will be, delivered next: 1 for the first, more after corrections.';
comment on column billing.usage_minutes.is_stale is 'True: usage or prices of this account-hour changed since it was rated, or it never was.';
