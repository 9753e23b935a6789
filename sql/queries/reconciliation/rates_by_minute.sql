-- Purpose:    the rates of single facts, of series whose rate may change within the hour.
-- Grain:      one row per fact.
-- Parameters: series_ids int[], first_minute int, end_minute int (exclusive)
select series_id, minute, rate_id
from billing_core.facts
where series_id = any(%(series_ids)s)
    and minute >= %(first_minute)s and minute < %(end_minute)s and rate_id <> 0
