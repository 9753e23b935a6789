-- Purpose: what was posted in a billing period per account, with how the account stands now (R5, R6); largest first.
-- Grain:   account with an entry in the period. Parameters: period (first hour).
select
    a.account_uuid::text,
    coalesce(sum(e.rated_quantity), 0)::bigint,
    coalesce(sum(e.amount) filter (where e.entry_type <> 'credit'), 0),
    coalesce(sum(e.amount) filter (where e.entry_type = 'credit'), 0),
    b.balance
from billing_core.ledger_entries e
join billing_core.accounts a using (account_key)
join billing_core.account_balances b using (account_key)
where e.period_hour = %(period)s
group by a.account_uuid, b.balance
order by abs(coalesce(sum(e.amount) filter (where e.entry_type <> 'credit'), 0)) desc, 1
