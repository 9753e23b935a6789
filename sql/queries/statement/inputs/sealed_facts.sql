-- Purpose: states in which facts of an hour were sealed that changed or vanished since, as the digest of a statement
--          takes them in.
-- Grain:   series and minute. {hour}: hours since 1970.
copy (
    select series_id, minute, revision, uplink_quantity, downlink_quantity
    from billing_core.sealed_facts
    where minute >= {hour} * 60 and minute < ({hour} + 1) * 60
    order by series_id, minute
) to stdout
