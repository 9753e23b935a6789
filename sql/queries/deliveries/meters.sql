-- Purpose:    what is counted; the meter's name is the event type.
-- Grain:      one row per meter.
select meter_id, meter, resource_type from billing_core.meters order by meter_id
