-- Purpose:    facts of an hour as they were last sealed, and what waits to be sealed (invariant 5).
-- Grain:      one row.
-- Parameters: hour int, meter_id int
-- A state of revision n was sealed n times, so n events say it.
with sealed_so_far as (
    select coalesce(max(sealings), 0) as sealings
    from billing_core.deliveries
    where hour = %(hour)s::int and meter_id = %(meter_id)s
),
facts as (
    select
        fact.sealing <= (select sealings from sealed_so_far) as is_sealed,
        fact.revision,
        fact.uplink_quantity + fact.downlink_quantity as quantity,
        sealed.revision as sealed_revision,
        sealed.uplink_quantity + sealed.downlink_quantity as sealed_quantity,
        (fact.uplink_quantity, fact.downlink_quantity)
        is distinct from (sealed.uplink_quantity, sealed.downlink_quantity) as is_change
    from billing_core.facts as fact
    join billing_core.series using (series_id)
    left join billing_core.sealed_facts as sealed using (series_id, minute)
    where fact.minute >= %(hour)s::int * 60 and fact.minute < (%(hour)s::int + 1) * 60
        and series.meter_id = %(meter_id)s
),
vanished as (
    select sealed.revision, sealed.uplink_quantity, sealed.downlink_quantity
    from billing_core.sealed_facts as sealed
    join billing_core.series using (series_id)
    where sealed.minute >= %(hour)s::int * 60 and sealed.minute < (%(hour)s::int + 1) * 60
        and series.meter_id = %(meter_id)s
        and not exists (
            select from billing_core.facts as fact
            where fact.series_id = sealed.series_id and fact.minute = sealed.minute
        )
),
states as (
    select
        coalesce(sealed_revision, case when is_sealed then revision else 0 end) as revision,
        coalesce(sealed_quantity, case when is_sealed then quantity else 0 end) as quantity,
        not is_sealed and is_change as is_pending,
        case when is_sealed then 0 else quantity - coalesce(sealed_quantity, 0) end as pending_quantity
    from facts
    union all
    select
        revision, uplink_quantity + downlink_quantity, (uplink_quantity, downlink_quantity) <> (0, 0),
        -(uplink_quantity + downlink_quantity)
    from vanished
)
select
    coalesce(sum(revision), 0)::bigint as sealed_revisions,
    count(*) filter (where is_pending) as unsealed_events,
    coalesce(sum(pending_quantity), 0)::numeric as unsealed_quantity
from states
