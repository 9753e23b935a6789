-- Purpose: sealed objects that were not delivered, oldest first.
-- Grain:   hour and event type.
-- Parameters: limit.
select to_timestamp(b.hour * 3600.0) as hour, m.meter as event_type, count(*) as objects,
       coalesce(sum(b.events) filter (where b.kind = 'events'), 0)::bigint as events, sum(b.size_bytes)::bigint as size_bytes,
       min(b.sealed_at) as sealed_at, max(b.attempts) as attempts, left(max(b.last_error), 1000) as last_error
from billing_core.batches b
join billing_core.meters m using (meter_id)
where b.delivered_at is null
group by b.hour, m.meter
order by b.hour, m.meter
limit %(limit)s
