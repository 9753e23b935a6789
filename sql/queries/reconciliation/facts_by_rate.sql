-- Purpose:    which rates the facts of an hour were rated with, of account-hours that are rated and not stale.
-- Grain:      one row per series and rate.
-- Parameters: hour int, meter_id int, first_minute int, end_minute int (exclusive)
select fact.series_id, fact.rate_id, count(*)
from billing_core.facts as fact
join billing_core.series using (series_id)
join billing_core.account_hours using (account_key, meter_id)
where fact.minute >= %(first_minute)s and fact.minute < %(end_minute)s
    and series.meter_id = %(meter_id)s and fact.rate_id <> 0
    and account_hours.hour = %(hour)s and account_hours.rated and not account_hours.stale
group by fact.series_id, fact.rate_id
