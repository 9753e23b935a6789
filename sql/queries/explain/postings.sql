-- Purpose: what is posted in a billing period, and for which: a closed one posts its differences later (R7). Credits too.
-- Grain:   entry type and period that the entries belong to. Parameters: account_key, period_hour, anchor_day.
select e.entry_type, billing_core.period_hour(e.hour, %(anchor_day)s) as belongs_to, count(*) as entries,
       sum(e.rated_quantity) as rated_bytes, trim_scale(sum(e.amount)) as amount
from billing_core.ledger_entries e
where e.account_key = %(account_key)s and e.period_hour = %(period_hour)s
group by 1, 2
order by 1 desc, 2
