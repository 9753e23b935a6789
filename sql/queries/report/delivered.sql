-- Purpose: what was delivered. Grain: hour and event type. Parameters: start, end.
select * from billing.deliveries where hour >= %(start)s and hour < %(end)s order by hour, event_type
