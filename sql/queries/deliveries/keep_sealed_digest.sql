-- Purpose:    keeps the digest of the facts as they were sealed; reconciliation computes it again.
-- Grain:      one row.
-- Parameters: hour int, meter_id int
update billing_core.deliveries
set sealed_digest = (select digest from billing_core.sealed_state(%(hour)s, %(meter_id)s))
where hour = %(hour)s and meter_id = %(meter_id)s
