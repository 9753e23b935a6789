-- Purpose: usage of an account before an hour in its billing period (R4). Grain: account-hour, in given order.
-- Parameters: account_keys[], hours[], period_hours[] (parallel), meter_id.
-- At most the largest quota (2^63-1): usage beyond it changes no split.
select least(coalesce((select sum(h.quantity) from billing_core.account_hours h
                 where h.account_key = w.account_key and h.meter_id = %(meter_id)s
                   and h.hour >= w.period_hour and h.hour < w.hour), 0), 9223372036854775807)::bigint
from unnest(%(account_keys)s::int[], %(hours)s::int[], %(period_hours)s::int[])
     with ordinality as w (account_key, hour, period_hour, position)
order by w.position
