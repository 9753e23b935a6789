-- Purpose: last sealed states of changed facts at given keys. Grain: series and minute.
select f.series_id, f.minute, f.revision, f.uplink_quantity, f.downlink_quantity
from unnest(%(series_ids)s::int[], %(minutes)s::int[]) as w (series_id, minute)
join billing_core.sealed_facts f using (series_id, minute)
