-- Purpose: dates an account's plan (R2). Conflict key: (account_key, from_minute), refused.
insert into billing_core.plan_members (account_key, from_minute, plan, run_id)
select account_key, %(from_minute)s, %(plan)s, %(run_id)s
from billing_core.accounts where account_uuid = %(account_uuid)s
