-- Purpose:    locks an hour against collecting and against another sealing until the transaction ends.
-- Grain:      one row.
-- Parameters: hour int, meter_id int
select sealings, open_sources
from billing_core.deliveries
where hour = %(hour)s and meter_id = %(meter_id)s
for update
