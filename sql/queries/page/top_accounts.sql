-- Purpose: the accounts that pay most, then those that use most.
-- Grain:   account. total: all accounts with usage.
-- Parameters: from_hour, to_hour (exclusive), limit.
with used as (
    select h.account_key, sum(h.quantity) as quantity, sum(h.included_quantity) as included_quantity, sum(h.amount) as amount,
           count(*) over () as total
    from billing_core.account_hours h
    where h.meter_id = 1 and h.hour >= %(from_hour)s and h.hour < %(to_hour)s
      -- The expression of the index by day.
      and to_timestamp((h.hour / 24) * 86400.0) >= to_timestamp((%(from_hour)s / 24) * 86400.0)
    group by h.account_key
    order by sum(h.amount) desc, sum(h.quantity) desc, h.account_key
    limit %(limit)s
)
select a.account_uuid::text as account_uuid, billing_core.capped(u.quantity) as total_bytes, billing_core.capped(u.included_quantity) as included_bytes,
       trim_scale(u.amount) as amount, b.balance, coalesce(b.suspend_state, 'active') as suspend_state, u.total
from used u
join billing_core.accounts a using (account_key)
left join billing_core.account_balances b using (account_key)
order by u.amount desc, u.quantity desc, u.account_key
