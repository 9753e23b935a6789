-- Purpose: makes series that are not known yet, in the given order. Conflict key: (node_key, account_key, inbound_tag, meter_id).
insert into billing_core.series (node_key, account_key, inbound_tag, meter_id)
select w.node_key, a.account_key, w.inbound_tag, %(meter_id)s
from (select node_key, account_uuid, (%(tags)s::text[])[tag_of] as inbound_tag, position
      from unnest(%(node_keys)s::int[], %(accounts)s::uuid[], %(tag_of)s::int[])
           with ordinality as u (node_key, account_uuid, tag_of, position)) w
join billing_core.accounts a using (account_uuid)
order by w.position
on conflict (node_key, account_key, inbound_tag, meter_id) do nothing
