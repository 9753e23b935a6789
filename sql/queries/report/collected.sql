-- Purpose: what was collected, with the bytes that came of it. Grain: source and hour. Parameters: start, end.
select h.*, coalesce(u.total_bytes, 0) as total_bytes
from billing.source_hours h
left join (
    select source_id, date_trunc('hour', minute, 'UTC') as hour, billing_core.capped(sum(total_bytes)) as total_bytes
    from billing.usage_minutes where minute >= %(start)s and minute < %(end)s group by 1, 2
) u using (source_id, hour)
where h.hour >= %(start)s and h.hour < %(end)s
order by h.hour, h.source_id
