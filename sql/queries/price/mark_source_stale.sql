-- Purpose: marks the rated account-hours with usage from a source, from an hour on (R2). Grain: account-hour.
update billing_core.account_hours h
set stale = true
where h.hour >= %(from_hour)s and h.rated and not h.stale
  and h.account_key in (
      select s.account_key
      from billing_core.series s
      join billing_core.nodes n using (node_key)
      join billing_core.sources o using (source_key)
      where o.source_id = %(source_id)s)
