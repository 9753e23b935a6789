-- Purpose: writes new measured values; rating columns stay until the account-hour is rated again (R4).
-- Grain: series and minute. {staged}: temporary table with the changed rows.
-- Parameters: from_minute, until_minute (exclusive): of those rows, so that few partitions are looked at.
update billing_core.facts f
set uplink_quantity = s.uplink_quantity, downlink_quantity = s.downlink_quantity,
    spans_minutes = s.spans_minutes, is_reset = s.is_reset, revision = s.revision, sealing = s.sealing
from {staged} s
where f.series_id = s.series_id and f.minute = s.minute
  and f.minute >= %(from_minute)s and f.minute < %(until_minute)s
