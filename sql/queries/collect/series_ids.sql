-- Purpose: ids of series and of their accounts by name, 0 where unknown, in the given order. Grain: series.
-- Parameters: node_keys[], accounts[], tag_of[] (parallel; places in tags[]), tags[], meter_id.
select coalesce(s.series_id, 0), coalesce(s.account_key, 0)
from (select node_key, account_uuid, (%(tags)s::text[])[tag_of] as inbound_tag, position
      from unnest(%(node_keys)s::int[], %(accounts)s::uuid[], %(tag_of)s::int[])
           with ordinality as u (node_key, account_uuid, tag_of, position)) w
left join billing_core.accounts a using (account_uuid)
left join billing_core.series s
    on s.node_key = w.node_key and s.account_key = a.account_key
   and s.inbound_tag = w.inbound_tag and s.meter_id = %(meter_id)s
order by w.position
