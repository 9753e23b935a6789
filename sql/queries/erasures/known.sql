-- Purpose: what is known of a uuid: its account, and the erasure after which it had another one. Grain: one row or none.
-- Parameters: account_uuid.
select a.account_key, a.account_uuid::text, e.erasure_id, e.erased_at,
       e.former_sha256 = sha256(convert_to(%(account_uuid)s, 'UTF8')) as is_former
from billing_core.accounts a
left join billing_core.erasures e using (account_key)
where a.account_uuid = %(account_uuid)s::uuid or e.former_sha256 = sha256(convert_to(%(account_uuid)s, 'UTF8'))
