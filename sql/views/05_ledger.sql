-- Purpose: the append-only ledger
-- Grain:   entry
create or replace view billing.ledger as
select e.entry_id, a.account_uuid, to_timestamp(e.hour * 3600.0) as hour, e.entry_type,
       e.rated_quantity as rated_bytes, e.amount, e.balance_after, e.reason, e.run_id, e.created_at,
       to_timestamp(e.period_hour * 3600.0) as period_start
from billing_core.ledger_entries e
join billing_core.accounts a using (account_key);
comment on view billing.ledger is 'Money, append-only; rows are never changed or deleted (R5). Grain: one row per ledger entry. Source: rating, which posts charges and adjustments, and credits given by a person.';
comment on column billing.ledger.entry_id is 'Identifier of the entry, in the order of appending.';
comment on column billing.ledger.account_uuid is 'Account, as the samples name it.';
comment on column billing.ledger.hour is 'Start of the account-hour that the entry belongs to, UTC; null for credits.';
comment on column billing.ledger.entry_type is 'traffic_charge: the first entry of an account-hour; adjustment: a later difference; credit (R5).';
comment on column billing.ledger.rated_bytes is 'Bytes charged; for an adjustment the signed difference.';
comment on column billing.ledger.amount is 'In the currency of the price book. Charges are positive; of an adjustment the signed difference; of a credit what is credited.';
comment on column billing.ledger.balance_after is 'Balance of the account after the entry (R6), in the currency of the price book.';
comment on column billing.ledger.reason is 'Why the entry was made.';
comment on column billing.ledger.run_id is 'Identifier of the run that appended it.';
comment on column billing.ledger.created_at is 'When it was appended, UTC.';
comment on column billing.ledger.period_start is 'Start of the billing period in which it is posted (R7), UTC.';
