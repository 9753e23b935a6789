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
comment on view billing.usage_minutes is 'Usage per series and minute, in bytes, with its rating. Minutes without bytes have no row (C10).';
comment on column billing.usage_minutes.minute is 'Start of the minute of the later sample, UTC (C8).';
comment on column billing.usage_minutes.source_id is 'Source that was collected.';
comment on column billing.usage_minutes.env is 'Environment of the snapshot (C2).';
comment on column billing.usage_minutes.node_id is 'Node of the snapshot (C2).';
comment on column billing.usage_minutes.account_uuid is 'Account.';
comment on column billing.usage_minutes.inbound_tag is 'Inbound of the node; the line that prices are looked up for.';
comment on column billing.usage_minutes.region is 'Region of the source at that minute (R2).';
comment on column billing.usage_minutes.uplink_bytes is 'Bytes up.';
comment on column billing.usage_minutes.downlink_bytes is 'Bytes down.';
comment on column billing.usage_minutes.total_bytes is 'Bytes up and down.';
comment on column billing.usage_minutes.included_bytes is 'Bytes covered by the included quota (R3); null until rated.';
comment on column billing.usage_minutes.rated_bytes is 'Bytes charged; null until rated. included + rated = total unless is_stale.';
comment on column billing.usage_minutes.unit_price is 'Price per byte; null until rated.';
comment on column billing.usage_minutes.multiplier is 'Region x line x (peak or off-peak) multiplier; null until rated.';
comment on column billing.usage_minutes.amount is 'rated_bytes x unit_price x multiplier, exact; null until rated (R1).';
comment on column billing.usage_minutes.price_version is 'Name of the price version applied; null until rated.';
comment on column billing.usage_minutes.spans_minutes is 'Minutes that the deltas of this minute cover, the longest (C9).';
comment on column billing.usage_minutes.is_reset is 'A counter restarted in this minute (C5).';
comment on column billing.usage_minutes.revision is 'Revision under which the fact was or will be delivered.';
comment on column billing.usage_minutes.is_stale is 'Usage or prices of this account-hour changed since it was rated, or it never was.';
