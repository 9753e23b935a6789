-- Purpose:    how often an hour was sealed, as its sealed batches say.
-- Grain:      one row.
-- Parameters: hour int, meter_id int, sealings int
update billing_core.deliveries
set sealings = %(sealings)s
where hour = %(hour)s and meter_id = %(meter_id)s and sealings <> %(sealings)s
