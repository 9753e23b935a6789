-- Purpose:    a vanished fact was sealed down to zero; its row stays, so that revisions never restart.
-- Grain:      one row per vanished fact.
-- Parameters: meter_id int, first_minute int, end_minute int (exclusive)
update billing_core.sealed_facts as sealed
set revision = sealed.revision + 1, uplink_quantity = 0, downlink_quantity = 0
from billing_core.series
where sealed.minute >= %(first_minute)s and sealed.minute < %(end_minute)s
    and (sealed.uplink_quantity, sealed.downlink_quantity) <> (0, 0)
    and series.series_id = sealed.series_id and series.meter_id = %(meter_id)s
    and not exists (
        select from billing_core.facts as fact
        where fact.series_id = sealed.series_id and fact.minute = sealed.minute
    )
