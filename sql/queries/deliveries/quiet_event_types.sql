-- Purpose:    exported event types of which nothing was delivered for so long that they may be stalled.
-- Grain:      one row per event type.
-- Parameters: at timestamptz
select meter.meter
from billing_core.meters as meter
join billing_core.delivery_heartbeats as heartbeat using (meter_id)
where heartbeat.is_exported and coalesce(heartbeat.last_success < %(at)s - heartbeat.alert_after, true)
