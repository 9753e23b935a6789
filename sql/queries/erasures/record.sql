-- Purpose: gives an account another uuid and records that, in one statement. Grain: account.
-- Parameters: account_key, replacement, first_hour, reason, erased_by, run_id.
with former as (
    select account_key, sha256(convert_to(account_uuid::text, 'UTF8')) as former_sha256
    from billing_core.accounts where account_key = %(account_key)s
),
renamed as (
    update billing_core.accounts a
    set account_uuid = %(replacement)s::uuid
    from former
    where a.account_key = former.account_key
)
insert into billing_core.erasures (account_key, former_sha256, first_hour, reason, erased_by, run_id)
select account_key, former_sha256, %(first_hour)s, %(reason)s, %(erased_by)s, %(run_id)s
from former
