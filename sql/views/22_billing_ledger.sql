-- Purpose: the ledger, as account services read it
-- Grain:   ledger entry
create or replace view account_read_model.billing_ledger as
select e.entry_id::text as id, a.account_uuid, coalesce(to_timestamp(e.hour * 3600.0), e.created_at) as bucket_start,
       coalesce(to_timestamp((e.hour + 1) * 3600.0), e.created_at) as bucket_end, e.entry_type, e.rated_quantity as rated_bytes,
       (case when e.entry_type = 'credit' then e.amount else -e.amount end)::double precision as amount_delta,
       e.balance_after::double precision as balance_after,
       case when e.hour is null then ''
            else coalesce((select coalesce(v.pricing_rule_version, v.price_version)
                           from billing_core.version_in_force(a.account_uuid, e.hour * 60, e.created_at) v), '')
       end as pricing_rule_version,
       e.created_at
from billing_core.ledger_entries e
join billing_core.accounts a using (account_key);
comment on view account_read_model.billing_ledger is 'Money, append-only. Grain: one row per ledger entry. Source: billing.ledger, which has the exact amounts and the reasons.';
comment on column account_read_model.billing_ledger.id is 'Number of the entry in the order of appending, as text.';
comment on column account_read_model.billing_ledger.account_uuid is 'Account, as the samples name it.';
comment on column account_read_model.billing_ledger.bucket_start is 'Start of the account-hour that the entry belongs to, UTC; of a credit, when it was given.';
comment on column account_read_model.billing_ledger.bucket_end is 'End of that hour, exclusive, UTC; of a credit, when it was given.';
comment on column account_read_model.billing_ledger.entry_type is 'traffic_charge: the first entry of an account-hour; adjustment: a later difference; credit (R5).';
comment on column account_read_model.billing_ledger.rated_bytes is 'Bytes charged; of an adjustment the signed difference; of a credit 0.';
comment on column account_read_model.billing_ledger.amount_delta is 'What the entry did to the balance, in the currency of the price book: a charge is negative, a credit positive. The other sign than billing.ledger.amount has for charges.';
comment on column account_read_model.billing_ledger.balance_after is 'Balance of the account after the entry (R6), in the currency of the price book.';
comment on column account_read_model.billing_ledger.pricing_rule_version is 'Price in force for the account at the first minute of the hour, of those published when the entry was made; by its name in the profile, if it was written there; empty for credits.';
comment on column account_read_model.billing_ledger.created_at is 'When it was appended, UTC.';
