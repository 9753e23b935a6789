-- Purpose: usage of an account before an hour in its billing period (R4). Grain: account-hour, in given order.
-- Parameters: account_keys[], hours[], period_hours[] (parallel), meter_id. Every account's period is summed once, however
-- many of its hours are asked for. At most the largest quota (2^63-1): usage beyond it changes no split.
with wanted as materialized (
    select w.account_key, w.hour, w.period_hour, w.position
    from unnest(%(account_keys)s::int[], %(hours)s::int[], %(period_hours)s::int[])
         with ordinality as w (account_key, hour, period_hour, position)
), periods as materialized (
    select account_key, period_hour, max(hour) as last_hour from wanted group by account_key, period_hour
), running as (
    select h.account_key, h.hour,
           sum(h.quantity) over (partition by h.account_key, p.period_hour order by h.hour
                                 rows between unbounded preceding and 1 preceding) as used
    from periods p
    join billing_core.account_hours h
        on h.account_key = p.account_key and h.meter_id = %(meter_id)s
       and h.hour >= p.period_hour and h.hour <= p.last_hour
)
select least(coalesce(r.used, 0), 9223372036854775807)::bigint
from wanted w
left join running r on r.account_key = w.account_key and r.hour = w.hour
order by w.position
