-- Purpose: posts what rated account-hours owe: the first entry is the meter's charge, later differences
-- are adjustments (R5), in the open period (R7); balances follow in the same statement (R6).
-- Grain: account-hour. Parameters: account_keys[], hours[], used_before[], region_ids[], rate_ids[], included[], rated[]
-- (parallel, one per account-hour and rate; rate 0 with zeros for an account-hour without facts), meter_id, anchor_day, reason, run_id.
with rated as (
    select w.account_key, w.hour, max(w.used_before) as used_before, max(w.region_id) as region_id,
           sum(w.included)::bigint as included_quantity,
           sum(w.rated)::bigint as rated_quantity,
           trim_scale(coalesce(sum(w.rated * r.amount_per_unit), 0)) as amount
    from unnest(%(account_keys)s::int[], %(hours)s::int[], %(used_before)s::bigint[], %(region_ids)s::smallint[],
                %(rate_ids)s::int[], %(included)s::bigint[], %(rated)s::bigint[])
         as w (account_key, hour, used_before, region_id, rate_id, included, rated)
    left join billing_core.rates r using (rate_id)
    group by w.account_key, w.hour
), settled as (
    update billing_core.account_hours h
    set included_quantity = r.included_quantity, amount = r.amount, used_before = r.used_before,
        region_id = r.region_id, rated = true, stale = false
    from rated r
    where h.account_key = r.account_key and h.hour = r.hour and h.meter_id = %(meter_id)s
      and (h.stale or (h.included_quantity, h.amount, h.used_before, h.region_id)
                      is distinct from (r.included_quantity, r.amount, r.used_before, r.region_id))
), posted as (
    select e.account_key, e.hour, sum(e.amount) as amount, sum(e.rated_quantity)::bigint as rated_quantity
    from billing_core.ledger_entries e
    join rated r on r.account_key = e.account_key and r.hour = e.hour
    where e.meter_id = %(meter_id)s
    group by e.account_key, e.hour
), periods as materialized (
    select hour, billing_core.posting_period_hour(hour, %(anchor_day)s) as period_hour,
           billing_core.period_hour(hour, %(anchor_day)s) as own_period_hour
    from (select distinct hour from rated) h
), due as (
    select r.account_key, r.hour, t.period_hour, t.own_period_hour,
           p.account_key is null as is_first,
           r.rated_quantity - coalesce(p.rated_quantity, 0) as rated_quantity,
           trim_scale(r.amount - coalesce(p.amount, 0)) as amount
    from rated r
    join periods t using (hour)
    left join posted p using (account_key, hour)
    where p.account_key is null or p.amount <> r.amount or p.rated_quantity <> r.rated_quantity
), entries as (
    insert into billing_core.ledger_entries (
        account_key, meter_id, hour, period_hour, entry_type, rated_quantity, amount, balance_after, reason, run_id)
    select d.account_key, %(meter_id)s, d.hour, d.period_hour,
           case when d.is_first and d.period_hour = d.own_period_hour then m.charge_entry_type else 'adjustment' end,
           d.rated_quantity, d.amount,
           b.balance - sum(d.amount) over (partition by d.account_key order by d.hour),
           case when d.is_first then 'usage' else %(reason)s end
           || case when d.period_hour <> d.own_period_hour
                   then ', belongs to the closed period of ' || to_char(to_timestamp(d.own_period_hour * 3600.0) at time zone 'UTC', 'YYYY-MM-DD')
                   else '' end,
           %(run_id)s
    from due d
    join billing_core.meters m on m.meter_id = %(meter_id)s
    join billing_core.account_balances b on b.account_key = d.account_key
    order by d.account_key, d.hour
    returning account_key, hour, entry_type, amount, balance_after
), moved as (
    select account_key, sum(amount) as amount, min(hour) filter (where balance_after < 0) as below_hour
    from entries group by account_key
), balances as (
    update billing_core.account_balances b
    set balance = b.balance - m.amount,
        arrears_since = case when b.balance - m.amount >= 0 then null
                             else coalesce(b.arrears_since, to_timestamp(m.below_hour * 3600.0)) end,
        throttle_state = case when b.balance - m.amount >= 0 then 'normal' else 'throttled' end,
        updated_at = clock_timestamp()
    from moved m
    where b.account_key = m.account_key and m.amount <> 0
)
select count(*) filter (where entry_type <> 'adjustment'), count(*) filter (where entry_type = 'adjustment'),
       coalesce(sum(amount), 0)
from entries
