-- Purpose: names of series for messages. Grain: series. Parameters: series_ids[].
select s.series_id, n.env || '/' || n.node_id || ' ' || a.account_uuid || ' ' || s.inbound_tag
from billing_core.series s
join billing_core.nodes n using (node_key)
join billing_core.accounts a using (account_key)
where s.series_id = any (%(series_ids)s)
