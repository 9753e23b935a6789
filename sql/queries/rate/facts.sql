-- Purpose: facts of account-hours with what orders and prices them. Grain: series and minute.
-- Parameters: account_keys[], hours[] (parallel), meter_id. position counts the account-hours from 1.
select w.position::int, f.series_id, f.minute, f.uplink_quantity + f.downlink_quantity as quantity,
       f.included_quantity, f.rate_id
from unnest(%(account_keys)s::int[], %(hours)s::int[]) with ordinality as w (account_key, hour, position)
join billing_core.series s on s.account_key = w.account_key and s.meter_id = %(meter_id)s
join billing_core.facts f
    on f.series_id = s.series_id and f.minute >= w.hour * 60 and f.minute < (w.hour + 1) * 60
