-- Purpose: the append-only ledger
-- Grain:   entry
create or replace view billing.ledger as
select e.entry_id, a.account_uuid, to_timestamp(e.hour * 3600.0) as hour, e.entry_type,
       e.rated_quantity as rated_bytes, e.amount, e.balance_after, e.reason, e.run_id, e.created_at,
       to_timestamp(e.period_hour * 3600.0) as period_start
from billing_core.ledger_entries e
join billing_core.accounts a using (account_key);
comment on view billing.ledger is 'Money per account and hour; rows are never changed or deleted (R5).';
comment on column billing.ledger.entry_id is 'Number of the entry, in the order of appending.';
comment on column billing.ledger.account_uuid is 'Account.';
comment on column billing.ledger.hour is 'Account-hour that the entry belongs to, UTC; null for credits.';
comment on column billing.ledger.entry_type is 'traffic_charge, adjustment or credit (R5).';
comment on column billing.ledger.rated_bytes is 'Bytes charged; for an adjustment the signed difference.';
comment on column billing.ledger.amount is 'Charges are positive; for an adjustment the signed difference; for a credit what is credited.';
comment on column billing.ledger.balance_after is 'Balance of the account after the entry (R6).';
comment on column billing.ledger.reason is 'Why the entry was made.';
comment on column billing.ledger.run_id is 'Run that appended it.';
comment on column billing.ledger.created_at is 'When it was appended.';
comment on column billing.ledger.period_start is 'Start of the billing period in which it is posted (R7), UTC.';
