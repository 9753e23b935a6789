-- Purpose:      makes account-hours what their facts sum up to, to be rated again.
-- Grain:        one row per account.
-- Parameters:   hour int, meter_id int, first_minute int, end_minute int (exclusive), account_keys int[] (sorted)
-- Conflict key: (account_key, meter_id, hour)
insert into billing_core.account_hours as stored (account_key, meter_id, hour, quantity, uplink_quantity)
select
    wanted.account_key,
    %(meter_id)s,
    %(hour)s,
    coalesce(sum(fact.uplink_quantity + fact.downlink_quantity), 0)::bigint,
    coalesce(sum(fact.uplink_quantity), 0)::bigint
from unnest(%(account_keys)s::int[]) as wanted (account_key)
left join billing_core.series
    on series.account_key = wanted.account_key and series.meter_id = %(meter_id)s
left join billing_core.facts as fact
    on fact.series_id = series.series_id
    and fact.minute >= %(first_minute)s and fact.minute < %(end_minute)s
group by wanted.account_key
order by wanted.account_key
on conflict (account_key, meter_id, hour) do update
set quantity = excluded.quantity, uplink_quantity = excluded.uplink_quantity, stale = true
