-- Purpose: included quota of accounts in billing periods, and what is left of it (R3).
-- Grain:   account and billing period. Parameters: accounts[] (null: all), from_hour, to_hour: the periods that touch them.
select m.account_uuid::text as account_uuid, to_char(m.period_start at time zone 'UTC', 'YYYY-MM') as month,
       m.quota, m.used, m.remaining
from billing.account_months m
where (%(accounts)s::uuid[] is null or m.account_uuid = any(%(accounts)s::uuid[]))
  and m.period_end > to_timestamp(%(from_hour)s * 3600.0) and m.period_start < to_timestamp(%(to_hour)s * 3600.0)
order by 1, m.period_start
