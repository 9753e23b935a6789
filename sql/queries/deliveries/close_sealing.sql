-- Purpose:    counts a sealing: from now on every fact of the hour up to it is sealed.
-- Grain:      one row.
-- Parameters: hour int, meter_id int, sealing int, events bigint, open_sources text[]
update billing_core.deliveries
set
    sealings = %(sealing)s,
    sealed_events = sealed_events + %(events)s,
    sealed_at = clock_timestamp(),
    open_sources = %(open_sources)s
where hour = %(hour)s and meter_id = %(meter_id)s
