-- Purpose: appends a credit and moves the balance in the same statement (R6). Grain: entry.
with moved as (
    update billing_core.account_balances b
    set balance = b.balance + %(amount)s,
        arrears_since = case when b.balance + %(amount)s >= 0 then null else b.arrears_since end,
        throttle_state = case when b.balance + %(amount)s >= 0 then 'normal' else b.throttle_state end,
        updated_at = clock_timestamp()
    from billing_core.accounts a
    where a.account_key = b.account_key and a.account_uuid = %(account_uuid)s
    returning b.account_key, b.balance
)
insert into billing_core.ledger_entries (
    account_key, meter_id, hour, period_hour, entry_type, rated_quantity, amount, balance_after, reason, run_id)
select m.account_key, null, null, %(period_hour)s, 'credit', 0, %(amount)s, m.balance, %(reason)s, %(run_id)s
from moved m
returning entry_id, balance_after
