-- Purpose: facts of account-hours with what orders and prices them. Grain: series and minute.
-- Parameters: account_keys[], hours[] (parallel), meter_id, from_minute, until_minute (exclusive: of all those hours).
-- position counts the account-hours from 1. OFFSET 0 keeps every hour a look-up by key: joined by account alone, a month of
-- one account would be compared with each of its hours.
select w.position::int, f.series_id, f.minute, f.uplink_quantity + f.downlink_quantity as quantity,
       f.included_quantity, f.rate_id
from unnest(%(account_keys)s::int[], %(hours)s::int[]) with ordinality as w (account_key, hour, position)
join billing_core.series s on s.account_key = w.account_key and s.meter_id = %(meter_id)s
cross join lateral (
    select series_id, minute, uplink_quantity, downlink_quantity, included_quantity, rate_id
    from billing_core.facts
    where series_id = s.series_id and minute >= w.hour * 60 and minute < (w.hour + 1) * 60
      and minute >= %(from_minute)s and minute < %(until_minute)s
    offset 0
) f
