-- Purpose: names that order facts within a minute (R3) and price them. Grain: series. Parameters: series_ids[].
select s.series_id, n.node_id, s.inbound_tag, n.env, o.source_id, a.account_uuid::text
from billing_core.series s
join billing_core.nodes n using (node_key)
join billing_core.sources o using (source_key)
join billing_core.accounts a using (account_key)
where s.series_id = any (%(series_ids)s)
