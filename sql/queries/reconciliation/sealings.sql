-- Purpose:    how often an hour was sealed; no row: never touched.
-- Grain:      at most one row.
-- Parameters: hour int, meter_id int
select sealings from billing_core.deliveries where hour = %(hour)s and meter_id = %(meter_id)s
