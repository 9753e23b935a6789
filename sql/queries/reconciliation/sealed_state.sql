-- Purpose:    the state in which the facts of an hour were last sealed against what was sealed: events, net usage, digest.
-- Grain:      one row.
-- Parameters: hour int, meter_id int
select
    state.events,
    state.quantity,
    state.digest,
    sealed.events,
    sealed.quantity,
    sealed.sealings,
    coalesce(delivery.sealings, 0),
    delivery.sealed_digest
from billing_core.sealed_state(%(hour)s, %(meter_id)s) as state
cross join (
    select
        coalesce(sum(events), 0) as events,
        coalesce(sum(net_quantity), 0) as quantity,
        coalesce(max(sealing), 0) as sealings
    from billing_core.batches
    where hour = %(hour)s and meter_id = %(meter_id)s and kind <> 'parquet'
) as sealed
left join billing_core.deliveries as delivery
    on delivery.hour = %(hour)s and delivery.meter_id = %(meter_id)s
