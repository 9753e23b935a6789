-- Purpose: what accounts used before an hour in its period, and whether that is final so far and no other source can touch
-- their hour, so that they can be rated while the hour is written (R4): no other source serves the account, none of its
-- hours in the period waits to be rated, and nothing is known of it from the hour on.
-- Grain: account. Parameters: account_keys[], source_key, hour, period_hour, next_period_hour, meter_id.
with waiting as materialized (
    select distinct h.account_key
    from billing_core.account_hours h
    where h.stale and h.account_key = any (%(account_keys)s) and h.meter_id = %(meter_id)s
      and h.hour >= %(period_hour)s and h.hour < %(next_period_hour)s
)
select least(coalesce(last.used_before::numeric + last.quantity, 0), 9223372036854775807)::bigint, w.account_key,
       ((last.account_key is null or last.used_before is not null)
       and not exists (select from waiting x where x.account_key = w.account_key)
       and not exists (
           select from billing_core.account_hours h
           where h.account_key = w.account_key and h.meter_id = %(meter_id)s
             and h.hour >= %(hour)s and h.hour < %(next_period_hour)s)
       and not exists (
           select from billing_core.series s
           join billing_core.nodes n using (node_key)
           where s.account_key = w.account_key and s.meter_id = %(meter_id)s and n.source_key <> %(source_key)s))::int
from unnest(%(account_keys)s::int[]) as w (account_key)
left join lateral (
    select h.account_key, h.used_before, h.quantity
    from billing_core.account_hours h
    where h.account_key = w.account_key and h.meter_id = %(meter_id)s
      and h.hour >= %(period_hour)s and h.hour < %(hour)s
    order by h.hour desc
    limit 1
) last on true
