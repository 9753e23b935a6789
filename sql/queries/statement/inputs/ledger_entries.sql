-- Purpose: ledger entries that belong to an hour, as the digest of a statement takes them in.
-- Grain:   entry, in the order of appending. {hour}: hours since 1970.
copy (
    select
        entry.entry_id, encode(billing_core.account_digest(account.account_uuid, erasure.former_sha256), 'hex'), entry.meter_id, entry.period_hour, entry.entry_type,
        entry.rated_quantity, entry.amount, entry.balance_after, entry.reason, entry.run_id,
        (extract(epoch from entry.created_at) * 1000000)::bigint
    from billing_core.ledger_entries as entry
    join billing_core.accounts as account using (account_key)
    left join billing_core.erasures as erasure using (account_key)
    where entry.hour = {hour}
    order by entry.entry_id
) to stdout
