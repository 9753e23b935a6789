-- Purpose: makes accounts that are not known yet, in uuid order so that two sources do not deadlock.
-- Conflict key: account_uuid. The balance follows the opening balance (R6).
with made as (
    insert into billing_core.accounts (account_uuid, opening_balance)
    select distinct w.account_uuid, %(opening_balance)s::numeric
    from unnest(%(accounts)s::uuid[]) as w (account_uuid)
    where not exists (select from billing_core.accounts a where a.account_uuid = w.account_uuid)
    order by 1
    on conflict (account_uuid) do nothing
    returning account_key, opening_balance
)
insert into billing_core.account_balances (account_key, balance, throttle_state, suspend_state)
select account_key, opening_balance,
       case when opening_balance < 0 then 'throttled' else 'normal' end, 'active'
from made
