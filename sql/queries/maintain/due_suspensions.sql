-- Purpose:    accounts whose arrears have lasted longer than the grace and that are not suspended.
-- Grain:      account, in order of its key.
-- Parameters: now timestamptz, grace interval, most bigint
-- An account that began below zero has no entry that took it there: its arrears began with it.
select
    balance.account_key, account.account_uuid, balance.balance,
    coalesce(balance.arrears_since, account.created_at) as arrears_since
from billing_core.account_balances as balance
join billing_core.accounts as account using (account_key)
where balance.balance < 0 and balance.suspend_state = 'active'
    and coalesce(balance.arrears_since, account.created_at) + %(grace)s::interval <= %(now)s
order by balance.account_key
limit %(most)s
