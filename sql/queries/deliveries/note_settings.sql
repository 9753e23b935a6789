-- Purpose:      keeps what an export was told, for the view that judges whether delivery keeps up.
-- Grain:        one row per event type.
-- Parameters:   meter_ids int[], exported_ids int[], seal_grace interval, alert_after interval
-- Conflict key: (meter_id); an equal row is not written again.
insert into billing_core.delivery_heartbeats as heartbeat (
    meter_id, is_exported, seal_grace, alert_after
)
select meter_id, meter_id = any(%(exported_ids)s::int[]), %(seal_grace)s, %(alert_after)s
from unnest(%(meter_ids)s::int[]) as meter (meter_id)
on conflict (meter_id) do update
set
    is_exported = excluded.is_exported,
    seal_grace = excluded.seal_grace,
    alert_after = excluded.alert_after
where (heartbeat.is_exported, heartbeat.seal_grace, heartbeat.alert_after)
    is distinct from (excluded.is_exported, excluded.seal_grace, excluded.alert_after)
