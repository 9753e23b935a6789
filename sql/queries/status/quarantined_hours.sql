-- Purpose: hours with quarantined samples that can be collected again, oldest first. Grain: source-hour.
select distinct o.source_id, q.hour
from billing_core.quarantine q join billing_core.sources o using (source_key)
where q.hour >= (select billing_core.archive_end())
order by q.hour, o.source_id
