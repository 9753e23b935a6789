-- Purpose: makes appending to the ledger cheaper: that its accounts exist is held by the accounts themselves, which nobody
--          may delete, instead of a look-up per entry. An entry is only made for an account that has a balance.
-- Grain:   account; ledger entry.

alter table billing_core.ledger_entries drop constraint ledger_entries_account_key_fkey;

create trigger accounts_stay before delete on billing_core.accounts
    for each row execute function billing_core.refuse_change();
create trigger accounts_no_truncate before truncate on billing_core.accounts
    for each statement execute function billing_core.refuse_change();
