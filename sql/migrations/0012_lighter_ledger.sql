-- Purpose: makes appending to the ledger cheaper: entries are appended in the order of their hours, more or less, so a
--          range index finds those of an hour; and the meter of an entry is that of its account-hour.
-- Grain:   ledger entry.

drop index billing_core.ledger_entries_hour;
create index ledger_entries_hour on billing_core.ledger_entries using brin (hour) with (pages_per_range = 16);
alter table billing_core.ledger_entries drop constraint ledger_entries_meter_id_fkey;
