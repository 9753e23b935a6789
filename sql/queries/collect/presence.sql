-- Purpose: instants up to an hour at which known series were served but quarantined (C7), by collecting or by look-back.
-- Grain: series and instant. Parameters: source_key, hour (inclusive).
select s.series_id, q.instant_ns
from billing_core.quarantine q
join billing_core.accounts a on a.account_uuid::text = q.account_uuid
join billing_core.series s
    on s.node_key = q.node_key and s.account_key = a.account_key and s.inbound_tag = q.inbound_tag
where q.source_key = %(source_key)s and q.hour <= %(hour)s
union
select s.series_id, p.instant_ns
from billing_core.lookback_presence p
join billing_core.nodes n using (node_key)
join billing_core.accounts a on a.account_uuid::text = p.account_uuid
join billing_core.series s
    on s.node_key = p.node_key and s.account_key = a.account_key and s.inbound_tag = p.inbound_tag
where n.source_key = %(source_key)s and p.hour <= %(hour)s
