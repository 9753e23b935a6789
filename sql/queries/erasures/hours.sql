-- Purpose: the hours in which an account has usage, or had when they were sealed. Grain: hour. Parameters: account_key.
select h.hour from billing_core.account_hours h where h.account_key = %(account_key)s
union
select s.minute / 60
from billing_core.sealed_facts s
join billing_core.series using (series_id)
where series.account_key = %(account_key)s
order by 1
