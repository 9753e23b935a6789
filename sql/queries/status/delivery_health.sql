-- Purpose: whether delivery keeps up. Grain: event type. Parameters: at timestamptz.
select * from billing_core.delivery_health(%(at)s) order by event_type
