-- Purpose: accounts that were erased: what they were called, as SHA-256, and what they are called now. Grain: account.
select e.former_sha256, a.account_uuid::text
from billing_core.erasures e
join billing_core.accounts a using (account_key)
