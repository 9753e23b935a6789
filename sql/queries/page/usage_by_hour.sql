-- Purpose: bytes and money over time. Bytes that wait to be rated have no amount yet.
-- Grain:   hour with usage.
-- Parameters: from_hour, to_hour (exclusive).
select h.hour, billing_core.capped(sum(h.quantity)) as total_bytes, billing_core.capped(sum(h.included_quantity)) as included_bytes,
       trim_scale(sum(h.amount)) as amount, billing_core.capped(coalesce(sum(h.quantity) filter (where h.stale), 0)) as unrated_bytes
from billing_core.account_hours h
where h.meter_id = 1 and h.hour >= %(from_hour)s and h.hour < %(to_hour)s
  -- The expression of the index by day.
  and to_timestamp((h.hour / 24) * 86400.0) >= to_timestamp((%(from_hour)s / 24) * 86400.0)
group by h.hour
order by h.hour
