-- Purpose: holds off the sealing of an hour and later ones while facts change. Grain: hour and meter.
select hour, sealings from billing_core.deliveries
where hour >= %(hour)s and meter_id = %(meter_id)s
order by hour
for share
