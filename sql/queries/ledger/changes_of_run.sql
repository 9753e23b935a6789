-- Purpose: what a run posted per account, and the balance that this left (R5, R6); largest first.
-- Grain:   account. Parameters: run_id.
select a.account_uuid::text, sum(e.amount), b.balance + sum(e.amount), b.balance
from billing_core.ledger_entries e
join billing_core.accounts a using (account_key)
join billing_core.account_balances b using (account_key)
where e.run_id = %(run_id)s and e.entry_type <> 'credit'
group by a.account_uuid, b.balance
order by abs(sum(e.amount)) desc, 1
