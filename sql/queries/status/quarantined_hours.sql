-- Purpose: hours with quarantined samples, oldest first. Grain: source-hour.
select distinct o.source_id, q.hour
from billing_core.quarantine q join billing_core.sources o using (source_key)
order by q.hour, o.source_id
