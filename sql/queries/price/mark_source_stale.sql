-- Purpose: marks the rated account-hours with usage from a source, from an hour on (R2). Grain: account-hour.
-- Locks in key order, as collecting does.
with touched as materialized (
    select h.account_key, h.meter_id, h.hour
    from billing_core.account_hours h
    where h.hour >= %(from_hour)s and h.rated and not h.stale
      and h.account_key in (
          select s.account_key
          from billing_core.series s
          join billing_core.nodes n using (node_key)
          join billing_core.sources o using (source_key)
          where o.source_id = %(source_id)s)
    order by h.account_key, h.meter_id, h.hour
    for update
)
update billing_core.account_hours h
set stale = true
from touched t
where h.account_key = t.account_key and h.meter_id = t.meter_id and h.hour = t.hour
