-- Purpose: ids of series by name, null where unknown, in the given order. Grain: series.
-- Parameters: node_keys[], accounts[], tags[] (parallel), meter_id.
select s.series_id
from unnest(%(node_keys)s::int[], %(accounts)s::uuid[], %(tags)s::text[])
     with ordinality as w (node_key, account_uuid, inbound_tag, position)
left join billing_core.accounts a using (account_uuid)
left join billing_core.series s
    on s.node_key = w.node_key and s.account_key = a.account_key
   and s.inbound_tag = w.inbound_tag and s.meter_id = %(meter_id)s
order by w.position
