-- Purpose:      makes the row that sealing and collecting of an hour lock.
-- Grain:        one row per hour and meter.
-- Parameters:   hour int, meter_id int
-- Conflict key: (hour, meter_id); an existing row stays as it is.
insert into billing_core.deliveries (hour, meter_id)
select %(hour)s, %(meter_id)s
where not exists (
    select from billing_core.deliveries where hour = %(hour)s and meter_id = %(meter_id)s
)
on conflict (hour, meter_id) do nothing
