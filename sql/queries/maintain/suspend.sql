-- Purpose:    suspends accounts and writes down since when and why.
-- Grain:      account.
-- Parameters: account_keys int[], since timestamptz[] (parallel), grace interval, reason text, run_id bigint
with suspended as (
    update billing_core.account_balances as balance
    set suspend_state = 'suspended'
    from unnest(%(account_keys)s::int[], %(since)s::timestamptz[]) as due (account_key, since)
    where balance.account_key = due.account_key
    returning balance.account_key, balance.balance, due.since
)
insert into billing_core.suspensions (account_key, state, effective_at, arrears_since, balance, reason, run_id)
select account_key, 'suspended', since + %(grace)s::interval, since, balance, %(reason)s, %(run_id)s
from suspended
order by account_key
