-- Purpose: how far each source is, and how many of its hours are open. Grain: source.
select s.source_id, s.enabled, s.checkpoint, s.lag_seconds,
       (select count(*) from billing.source_hours h where h.source_id = s.source_id and h.state = 'partial') as open_hours,
       s.last_attempted_at, s.last_succeeded_at, s.last_error
from billing.source_status s
order by s.source_id
