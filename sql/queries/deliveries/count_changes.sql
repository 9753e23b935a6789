-- Purpose:    how many events the next sealing of an hour would make; the same rows as changes.sql.
-- Grain:      one row.
-- Parameters: hour int, meter_id int, first_minute int, end_minute int (exclusive)
with sealed_so_far as (
    select coalesce(max(sealings), 0) as sealings
    from billing_core.deliveries
    where hour = %(hour)s and meter_id = %(meter_id)s
)
select (
    select count(*)
    from billing_core.facts as fact
    join billing_core.series using (series_id)
    left join billing_core.sealed_facts as sealed using (series_id, minute)
    where fact.minute >= %(first_minute)s and fact.minute < %(end_minute)s
        and series.meter_id = %(meter_id)s
        and fact.sealing > (select sealings from sealed_so_far)
        and (fact.uplink_quantity, fact.downlink_quantity)
        is distinct from (sealed.uplink_quantity, sealed.downlink_quantity)
) + (
    select count(*)
    from billing_core.sealed_facts as sealed
    join billing_core.series using (series_id)
    where sealed.minute >= %(first_minute)s and sealed.minute < %(end_minute)s
        and series.meter_id = %(meter_id)s
        and (sealed.uplink_quantity, sealed.downlink_quantity) <> (0, 0)
        and not exists (
            select from billing_core.facts as fact
            where fact.series_id = sealed.series_id and fact.minute = sealed.minute
        )
)
