-- Purpose:    sealed objects of an hour after the first ones, which a statement has signed.
-- Grain:      sealing.
-- Parameters: hour int, rows int (left out)
select run_id, sealing, sum(events)::bigint as events, sum(net_quantity)::numeric as net_quantity
from (
    select batch_id, run_id, sealing, events, net_quantity, kind
    from billing_core.batches
    where hour = %(hour)s
    order by batch_id
    offset %(rows)s
) as appended
where kind = 'events'
group by run_id, sealing
order by sealing
