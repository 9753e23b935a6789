-- Purpose: the sealed facts of an account with what the ids of their events are made of. Grain: sealed fact.
-- Parameters: account_key.
select s.series_id, f.minute, f.revision, o.source_id, n.env, n.node_id, s.inbound_tag, m.meter
from billing_core.series s
join billing_core.meters m using (meter_id)
join billing_core.nodes n using (node_key)
join billing_core.sources o using (source_key)
cross join lateral (
    select sealed.minute, sealed.revision
    from billing_core.sealed_facts sealed
    where sealed.series_id = s.series_id
    union all
    select fact.minute, fact.revision
    from billing_core.facts fact
    join billing_core.deliveries d on d.hour = fact.minute / 60 and d.meter_id = s.meter_id
    where fact.series_id = s.series_id and fact.sealing <= d.sealings
        and not exists (
            select from billing_core.sealed_facts sealed
            where sealed.series_id = fact.series_id and sealed.minute = fact.minute
        )
) f
where s.account_key = %(account_key)s
