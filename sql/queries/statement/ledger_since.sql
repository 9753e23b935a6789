-- Purpose:    ledger entries of an hour after the first ones, which a statement has signed.
-- Grain:      run and reason.
-- Parameters: hour int, rows int (left out)
select run_id, reason, count(*) as entries, sum(rated_quantity)::numeric as rated_quantity, sum(amount) as amount
from (
    select entry_id, run_id, reason, rated_quantity, amount
    from billing_core.ledger_entries
    where hour = %(hour)s
    order by entry_id
    offset %(rows)s
) as appended
group by run_id, reason
order by min(entry_id)
