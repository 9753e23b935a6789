-- Purpose:    how many sealed events of an hour were not delivered yet; Parquet holds them once more.
-- Grain:      one row.
-- Parameters: hour int, meter_id int
select coalesce(sum(events), 0)
from billing_core.batches
where hour = %(hour)s and meter_id = %(meter_id)s and delivered_at is null and kind = 'events'
