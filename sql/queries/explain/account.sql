-- Purpose: what makes up the balance of an account now (R6). Grain: one row; none: the account is not known.
-- Parameters: account (uuid).
select a.account_key, trim_scale(a.opening_balance) as opening_balance, trim_scale(coalesce(l.credits, 0)) as credits,
       trim_scale(coalesce(l.charges, 0)) as charges, trim_scale(coalesce(b.balance, a.opening_balance)) as balance
from billing_core.accounts a
left join billing_core.account_balances b using (account_key)
cross join lateral (
    select sum(e.amount) filter (where e.entry_type = 'credit') as credits,
           sum(e.amount) filter (where e.entry_type <> 'credit') as charges
    from billing_core.ledger_entries e
    where e.account_key = a.account_key
) l
where a.account_uuid = %(account)s::uuid
