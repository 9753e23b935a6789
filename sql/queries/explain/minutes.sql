-- Purpose: the facts of an account-hour with everything that they were rated with, in the order in which they consume the
--          included quota: minute, node, inbound, env, source, in byte order (R3). Rating is null until it is done.
-- Grain:   series and minute. Parameters: account_key, meter_id, hour.
select f.minute, f.series_id, f.uplink_quantity as uplink_bytes, f.downlink_quantity as downlink_bytes,
       f.uplink_quantity + f.downlink_quantity as total_bytes,
       case when f.rate_id <> 0 then f.included_quantity end as included_bytes,
       case when f.rate_id <> 0 then f.uplink_quantity + f.downlink_quantity - f.included_quantity end as rated_bytes,
       p.price_version, trim_scale(r.price_per_unit) as unit_price, trim_scale(r.region_multiplier) as region_multiplier,
       trim_scale(r.line_multiplier) as line_multiplier, trim_scale(r.time_multiplier) as time_multiplier,
       trim_scale(r.amount_per_unit) as price_of_a_byte,
       trim_scale((f.uplink_quantity + f.downlink_quantity - f.included_quantity) * r.amount_per_unit) as amount,
       f.spans_minutes, f.is_reset, f.revision::int as revision
from billing_core.series s
join billing_core.nodes n using (node_key)
join billing_core.sources o using (source_key)
join billing_core.facts f using (series_id)
left join billing_core.rates r on r.rate_id = f.rate_id
left join billing_core.price_versions p using (price_version_id)
where s.account_key = %(account_key)s and s.meter_id = %(meter_id)s
  and f.minute >= %(hour)s * 60 and f.minute < (%(hour)s + 1) * 60
order by f.minute, n.node_id collate "C", s.inbound_tag collate "C", n.env collate "C", o.source_id collate "C"
