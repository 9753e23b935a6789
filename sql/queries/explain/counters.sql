-- Purpose: first and last counters of the series of an account in an hour, what the first delta was measured from (C4, C7),
--          and the totals that stood before resets: all that is stored of the samples.
-- Grain:   series, in the order of quota, also one that has facts and no counters. Parameters: account_key, meter_id, hour.
select s.series_id, o.source_id, n.env, n.node_id, s.inbound_tag, billing_core.region_at(n.source_key, %(hour)s * 60) as region,
       c.first_kind, c.prev_ns, c.prev_uplink, c.prev_downlink, c.first_ns, c.first_uplink, c.first_downlink,
       c.last_ns, c.last_uplink, c.last_downlink, coalesce(r.uplink, 0) as uplink_before_resets,
       coalesce(r.downlink, 0) as downlink_before_resets, coalesce(r.resets, 0) as resets, h.snapshots as collected_snapshots
from billing_core.series s
join billing_core.nodes n using (node_key)
join billing_core.sources o using (source_key)
left join billing_core.closings c on c.series_id = s.series_id and c.hour = %(hour)s and not c.provisional
left join (
    select t.series_id, count(*) as resets, sum(t.uplink_before) as uplink, sum(t.downlink_before) as downlink
    from billing_core.counter_resets t
    where t.hour = %(hour)s
    group by t.series_id
) r on r.series_id = s.series_id
left join billing_core.source_hours h on h.source_key = n.source_key and h.hour = %(hour)s
where s.account_key = %(account_key)s and s.meter_id = %(meter_id)s
  and (c.series_id is not null
       or exists (select from billing_core.facts f
                  where f.series_id = s.series_id and f.minute >= %(hour)s * 60 and f.minute < (%(hour)s + 1) * 60))
order by n.node_id collate "C", s.inbound_tag collate "C", n.env collate "C", o.source_id collate "C"
