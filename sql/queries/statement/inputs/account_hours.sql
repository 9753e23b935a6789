-- Purpose: account-hours of an hour, as the digest of a statement takes them in.
-- Grain:   account and meter. {hour}: hours since 1970.
-- The day is written as the index on account_hours has it.
copy (
    select
        encode(billing_core.account_digest(account.account_uuid, erasure.former_sha256), 'hex'), account_hour.meter_id, account_hour.quantity, account_hour.included_quantity,
        account_hour.amount, account_hour.rated, account_hour.stale
    from billing_core.account_hours as account_hour
    join billing_core.accounts as account using (account_key)
    left join billing_core.erasures as erasure using (account_key)
    where account_hour.hour = {hour}
        and to_timestamp((account_hour.hour / 24) * 86400.0) = to_timestamp(({hour} / 24) * 86400.0)
    order by account_hour.account_key, account_hour.meter_id
) to stdout
