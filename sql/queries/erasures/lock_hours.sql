-- Purpose: holds hours against collecting and sealing until the transaction ends. Grain: hour and meter. Parameters: hours[].
select 1
from billing_core.deliveries
where hour = any (%(hours)s::int[])
order by hour, meter_id
for update
