-- Purpose:    hours with something to seal or to send; facts of archived ones cannot be sealed any more.
-- Grain:      one row per hour, oldest first.
-- Parameters: before int (exclusive), meter_ids int[]
-- Facts of hours never sealed have sealing 1; the rest of the search looks only at facts that
-- wait for a second or later sealing, which are few.
select distinct hour
from (
    select delivery.hour
    from billing_core.deliveries as delivery
    where delivery.hour < %(before)s and delivery.meter_id = any(%(meter_ids)s)
        and (
            delivery.sealings = 0
            or exists (
                select
                from unnest(delivery.open_sources) as was_open (source_id)
                join billing_core.sources as source using (source_id)
                join billing_core.source_hours as source_hour using (source_key)
                where source_hour.hour = delivery.hour and source_hour.state <> 'partial'
            )
        )
    union all
    select source_hour.hour
    from billing_core.source_hours as source_hour
    cross join unnest(%(meter_ids)s::int[]) as meter (meter_id)
    where source_hour.hour < %(before)s
        and not exists (
            select from billing_core.deliveries as delivery
            where delivery.hour = source_hour.hour and delivery.meter_id = meter.meter_id
        )
    union all
    select delivery.hour
    from billing_core.facts as fact
    join billing_core.series using (series_id)
    join billing_core.deliveries as delivery
        on delivery.hour = fact.minute / 60 and delivery.meter_id = series.meter_id
    where fact.sealing > 1 and fact.sealing > delivery.sealings
        and delivery.hour < %(before)s and delivery.meter_id = any(%(meter_ids)s)
    union all
    select sealed.minute / 60
    from billing_core.sealed_facts as sealed
    join billing_core.series using (series_id)
    where sealed.minute / 60 < %(before)s and series.meter_id = any(%(meter_ids)s)
        and (sealed.uplink_quantity, sealed.downlink_quantity) <> (0, 0)
        and not exists (
            select from billing_core.facts as fact
            where fact.series_id = sealed.series_id and fact.minute = sealed.minute
        )
    union all
    select batch.hour
    from billing_core.batches as batch
    where batch.delivered_at is null
        and batch.hour < %(before)s and batch.meter_id = any(%(meter_ids)s)
) as pending
where hour >= (select billing_core.archive_end())
order by hour
