-- Purpose: locks what publishing rates again (R2, R4): the rated account-hours that a new version, membership or region
-- touches, those that are stale, and what follows these in their period. One statement locks all of them, in key order
-- as collecting does: the two never hold each other up for good.
-- A quota also decides later hours of the period it was in force at the start of, so what is touched has no upper end.
-- Grain: account-hour. Parameters: scopes[], scope_keys[], from_hours[] (parallel; scope `source` is a source's region),
-- anchor_day, meter_id.
with new as materialized (
    select * from unnest(%(scopes)s::text[], %(scope_keys)s::text[], %(from_hours)s::int[]) as n (scope, scope_key, from_hour)
), spans as materialized (
    select account_key, min(from_hour) as from_hour, 2147483647 as until_hour
    from (
        select a.account_key, n.from_hour
        from new n
        join billing_core.accounts a on n.scope = 'default' or n.scope = 'account' and n.scope_key = a.account_uuid::text
        union all
        select m.account_key, n.from_hour
        from new n
        join billing_core.plan_members m on n.scope = 'plan' and n.scope_key = m.plan
        union all
        select s.account_key, n.from_hour
        from new n
        join billing_core.sources o on n.scope = 'source' and n.scope_key = o.source_id
        join billing_core.nodes using (source_key)
        join billing_core.series s using (node_key)
    ) touched
    group by account_key
    union all
    select account_key, min(hour), billing_core.next_period_hour(billing_core.period_hour(hour, %(anchor_day)s))
    from billing_core.account_hours
    where stale and rated and meter_id = %(meter_id)s
    group by 1, 3
)
select h.account_key, h.hour, billing_core.period_hour(h.hour, %(anchor_day)s)
from billing_core.account_hours h
where h.meter_id = %(meter_id)s and h.rated
  and exists (
      select from spans s
      where s.account_key = h.account_key and h.hour >= s.from_hour and h.hour < s.until_hour)
order by h.account_key, h.meter_id, h.hour
for update
