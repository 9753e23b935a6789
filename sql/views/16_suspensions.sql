-- Purpose: which accounts were suspended from when to when, and why
-- Grain:   change of an account's suspension
create or replace view billing.suspensions as
select s.suspension_id, a.account_uuid, s.state, s.effective_at,
       lead(s.effective_at) over (partition by s.account_key order by s.suspension_id) as ended_at,
       s.arrears_since, s.balance, s.reason, s.run_id, s.recorded_at
from billing_core.suspensions s
join billing_core.accounts a using (account_key);
comment on view billing.suspensions is 'History of suspensions, append-only; an account without rows was never suspended. Grain: one row per change of an account between active and suspended. Source: the arrears sweep of `billing-etl maintain`, and the ledger entries that end arrears (R6).';
comment on column billing.suspensions.suspension_id is 'Identifier of the change, in the order of recording.';
comment on column billing.suspensions.account_uuid is 'Account, as the samples name it.';
comment on column billing.suspensions.state is 'suspended, or active again.';
comment on column billing.suspensions.effective_at is 'From when it holds, UTC: of suspended the end of the grace; of active the entry that ended the arrears.';
comment on column billing.suspensions.ended_at is 'Until when it held, UTC; null: it holds now.';
comment on column billing.suspensions.arrears_since is 'Start of the arrears that it was suspended for, UTC; null for active.';
comment on column billing.suspensions.balance is 'Balance when it was recorded, in the currency of the price book.';
comment on column billing.suspensions.reason is 'Why the state changed.';
comment on column billing.suspensions.run_id is 'Identifier of the run that suspended; null for active: the entry did that.';
comment on column billing.suspensions.recorded_at is 'When it was recorded, UTC.';
