-- Purpose: counters that fell
-- Grain:   series and instant
create or replace view billing.counter_resets as
select billing_core.instant(r.instant_ns) as reset_at, to_timestamp(r.hour * 3600.0) as hour, o.source_id, n.env, n.node_id,
       a.account_uuid, s.inbound_tag,
       case when r.is_node_restart then 'node_restart' else 'single_series' end as reset_class,
       r.uplink_before as uplink_bytes_before, r.downlink_before as downlink_bytes_before,
       r.uplink_after as uplink_bytes_after, r.downlink_after as downlink_bytes_after,
       r.uplink_after + r.downlink_after as total_bytes
from billing_core.counter_resets r
join billing_core.series s using (series_id)
join billing_core.nodes n using (node_key)
join billing_core.sources o using (source_key)
join billing_core.accounts a using (account_key);
comment on view billing.counter_resets is 'Counter resets: both counters of a series restarted from zero (C5). Grain: one row per series and instant. Source: collecting.';
comment on column billing.counter_resets.reset_at is 'Instant of the sample after the reset, UTC, to the microsecond.';
comment on column billing.counter_resets.hour is 'Start of the hour of that sample, UTC.';
comment on column billing.counter_resets.source_id is 'Source, as the settings name it.';
comment on column billing.counter_resets.env is 'Environment, as the snapshot names it (C2).';
comment on column billing.counter_resets.node_id is 'Node, as the snapshot names it (C2).';
comment on column billing.counter_resets.account_uuid is 'Account, as the samples name it.';
comment on column billing.counter_resets.inbound_tag is 'Inbound of the node, as the sample names it.';
comment on column billing.counter_resets.reset_class is 'node_restart when most comparable series of the node fell in that snapshot, else single_series (C5).';
comment on column billing.counter_resets.uplink_bytes_before is 'Total of the counter up before the reset, in bytes.';
comment on column billing.counter_resets.downlink_bytes_before is 'Total of the counter down before the reset, in bytes.';
comment on column billing.counter_resets.uplink_bytes_after is 'Total up after it, in bytes; counted as usage.';
comment on column billing.counter_resets.downlink_bytes_after is 'Total down after it, in bytes; counted as usage.';
comment on column billing.counter_resets.total_bytes is 'Bytes up and down counted from zero.';
