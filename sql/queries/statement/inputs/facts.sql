-- Purpose: facts of an hour with their rating, as the digest of a statement takes them in.
-- Grain:   series and minute. {hour}: hours since 1970.
copy (
    select
        series_id, minute, uplink_quantity, downlink_quantity, included_quantity, rate_id, spans_minutes,
        is_reset, revision, sealing
    from billing_core.facts
    where minute >= {hour} * 60 and minute < ({hour} + 1) * 60
    order by series_id, minute
) to stdout
