-- Purpose: adds what is to be told. Grain: notice. Parameters: alert_ids[], kinds[], connections[] (parallel), at timestamptz.
insert into billing_core.alert_notices (alert_id, kind, connection, made_at)
select w.alert_id, w.kind, w.connection, %(at)s
from unnest(%(alert_ids)s::bigint[], %(kinds)s::text[], %(connections)s::text[]) as w (alert_id, kind, connection)
