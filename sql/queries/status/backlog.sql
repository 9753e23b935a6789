-- Purpose: what waits for delivery. Grain: event type.
select event_type, sum(pending)::bigint as pending, min(hour) filter (where pending > 0) as oldest_hour
from billing.deliveries group by event_type order by event_type
