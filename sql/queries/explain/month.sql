-- Purpose: what an account and billing period come to, as billing.account_months says it. Grain: one row; none: no usage, no postings.
-- Parameters: account (uuid), period_hour.
select m.bytes, m.quota, m.used, m.remaining, trim_scale(m.amount) as amount
from billing.account_months m
where m.account_uuid = %(account)s::uuid and m.period_start = to_timestamp(%(period_hour)s * 3600.0)
