-- Purpose: the ledger entries of an account-hour, in the order of appending (R5). Grain: entry. Parameters: account_key, hour.
select e.entry_id, e.entry_type, e.rated_quantity as rated_bytes, trim_scale(e.amount) as amount,
       trim_scale(e.balance_after) as balance_after, e.reason, e.run_id, e.created_at, e.period_hour
from billing_core.ledger_entries e
where e.account_key = %(account_key)s and e.hour = %(hour)s
order by e.entry_id
