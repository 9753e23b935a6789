-- Purpose:    manifests of an hour that were not sent yet.
-- Grain:      one row per manifest.
-- Parameters: hour int, meter_id int
select batch_id, payload
from billing_core.batches
where hour = %(hour)s and meter_id = %(meter_id)s and kind = 'manifest' and delivered_at is null
order by sealing
