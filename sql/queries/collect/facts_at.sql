-- Purpose: stored facts at given series and minutes. Grain: series and minute.
-- Parameters: series_ids[], minutes[] (parallel), from_minute, until_minute (exclusive: their bounds).
select f.uplink_quantity, f.downlink_quantity, f.included_quantity, f.series_id, f.minute, f.rate_id,
       f.spans_minutes, f.revision, f.sealing, f.is_reset
from unnest(%(series_ids)s::int[], %(minutes)s::int[]) as w (series_id, minute)
join billing_core.facts f using (series_id, minute)
where f.minute >= %(from_minute)s and f.minute < %(until_minute)s
