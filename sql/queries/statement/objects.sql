-- Purpose:    sealed objects of each hour, delivered or not.
-- Grain:      hour, kind and whether it is delivered. Parquet files hold the events of the lines once more: they
--             count as objects and bytes, not as events.
-- Parameters: start int, end int (hours, end exclusive), meter_id int
select
    hour, kind, delivered_at is not null as is_delivered, count(*) as objects,
    coalesce(sum(events) filter (where kind = 'events'), 0)::bigint as events,
    coalesce(sum(net_quantity) filter (where kind = 'events'), 0)::numeric as net_quantity, sum(size_bytes)::numeric as bytes,
    count(*) filter (where payload_dropped_at is not null) as payloads_dropped, max(last_error) as last_error
from billing_core.batches
where hour >= %(start)s and hour < %(end)s and meter_id = %(meter_id)s
group by hour, kind, is_delivered
order by hour, kind, is_delivered
