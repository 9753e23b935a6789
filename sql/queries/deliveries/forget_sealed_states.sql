-- Purpose:    after a sealing the fact itself is the sealed state again, where it lives.
-- Grain:      one row per corrected fact.
-- Parameters: meter_id int, first_minute int, end_minute int (exclusive)
delete from billing_core.sealed_facts as sealed
using billing_core.facts as fact, billing_core.series
where sealed.minute >= %(first_minute)s and sealed.minute < %(end_minute)s
    and fact.series_id = sealed.series_id and fact.minute = sealed.minute
    and series.series_id = sealed.series_id and series.meter_id = %(meter_id)s
