-- Purpose: which of some hours are sealed, so that a change is delivered as a correction. Grain: hour.
-- Parameters: meter_id int, hours int[].
select hour from billing_core.deliveries
where meter_id = %(meter_id)s and hour = any (%(hours)s) and sealings > 0
order by hour
