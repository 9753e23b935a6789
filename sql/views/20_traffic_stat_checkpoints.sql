-- Purpose: the newest counters of each account on each node, as account services read them
-- Grain:   node and account
create or replace view account_read_model.traffic_stat_checkpoints as
select c.node_id, c.account_uuid, billing_core.capped(c.uplink) as last_uplink_total,
       billing_core.capped(c.downlink) as last_downlink_total, billing_core.instant(c.last_ns) as last_seen_at,
       ''::text as xray_revision,
       (select count(distinct r.instant_ns) from billing_core.counter_resets r where r.series_id = any(c.series_ids)) as reset_epoch,
       c.created_at, coalesce(c.changed_at, billing_core.instant(c.last_ns)) as updated_at
from (
    select n.env || ':' || n.node_id as node_id, a.account_uuid, sum(l.last_uplink) as uplink, sum(l.last_downlink) as downlink,
           max(l.last_ns) as last_ns, max(h.changed_at) as changed_at, array_agg(s.series_id) as series_ids, a.created_at
    from billing_core.series s
    join billing_core.nodes n using (node_key)
    join billing_core.accounts a using (account_key)
    cross join lateral (
        select x.last_uplink, x.last_downlink, x.last_ns, x.hour
        from billing_core.closings x where x.series_id = s.series_id order by x.hour desc limit 1
    ) l
    left join billing_core.source_hours h on h.source_key = n.source_key and h.hour = l.hour
    where s.meter_id = 1
    group by 1, a.account_uuid, a.created_at
) c;
comment on view account_read_model.traffic_stat_checkpoints is 'Newest counters. Grain: one row per node and account that was seen. Source: the newest samples collected; what was collected first is in billing.usage_minutes.';
comment on column account_read_model.traffic_stat_checkpoints.node_id is 'env:node of the snapshots (C2).';
comment on column account_read_model.traffic_stat_checkpoints.account_uuid is 'Account, as the samples name it.';
comment on column account_read_model.traffic_stat_checkpoints.last_uplink_total is 'Totals of the counters up in bytes, of all inbounds of the account on the node.';
comment on column account_read_model.traffic_stat_checkpoints.last_downlink_total is 'Totals of the counters down in bytes, of all inbounds of the account on the node.';
comment on column account_read_model.traffic_stat_checkpoints.last_seen_at is 'Instant of the newest sample of any of these inbounds, UTC, to the microsecond.';
comment on column account_read_model.traffic_stat_checkpoints.xray_revision is 'Always empty: exporters do not say it.';
comment on column account_read_model.traffic_stat_checkpoints.reset_epoch is 'Count of instants at which a counter of these inbounds restarted from zero (C5).';
comment on column account_read_model.traffic_stat_checkpoints.created_at is 'When the account was first known, by any source, UTC.';
comment on column account_read_model.traffic_stat_checkpoints.updated_at is 'When the stored hour of the newest sample last changed, UTC.';
