-- Purpose: account-hours that the transaction may have changed: stale ones, and those of its ledger entries.
-- Grain:   account and hour. Parameters: meter_id int, run_id bigint, after_entry bigint (the newest entry before it).
select account_key, hour from billing_core.account_hours where stale and meter_id = %(meter_id)s
union
select account_key, hour from billing_core.ledger_entries
where entry_id > %(after_entry)s and run_id = %(run_id)s and hour is not null
order by account_key, hour
