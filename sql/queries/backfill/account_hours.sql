-- Purpose: bytes of account-hours, and what stands in the ledger for them, as the connection sees it.
-- Grain:   account and hour that has either. Parameters: meter_id int, account_keys int[], hours int[] (parallel).
select a.account_key, w.hour, a.account_uuid::text, coalesce(h.quantity, 0), coalesce(l.amount, 0)
from unnest(%(account_keys)s::int[], %(hours)s::int[]) as w (account_key, hour)
join billing_core.accounts a using (account_key)
left join billing_core.account_hours h
    on h.account_key = w.account_key and h.meter_id = %(meter_id)s and h.hour = w.hour
left join lateral (
    select sum(e.amount) as amount from billing_core.ledger_entries e
    where e.account_key = w.account_key and e.hour = w.hour
) l on true
