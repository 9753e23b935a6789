-- Purpose:    facts of some minutes as they are archived.
-- Grain:      series and minute, in order of minute and series.
-- Parameters: from_minute int, until_minute int (exclusive)
select
    uplink_quantity, downlink_quantity, included_quantity, series_id, minute, rate_id, spans_minutes, revision, sealing,
    is_reset
from billing_core.facts
where minute >= %(from_minute)s and minute < %(until_minute)s
order by minute, series_id
