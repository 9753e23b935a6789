-- Purpose: what each account used and owes, and why. Grain: account. Parameters: start, end.
select u.account_uuid, billing_core.capped(sum(u.total_bytes)) as total_bytes, billing_core.capped(sum(u.included_bytes)) as included_bytes,
       billing_core.capped(sum(u.rated_bytes)) as rated_bytes, sum(u.amount) as amount,
       string_agg(distinct trim_scale(u.unit_price)::text, ', ') filter (where u.rated_bytes > 0) as unit_prices,
       string_agg(distinct trim_scale(u.multiplier)::text, ', ') filter (where u.rated_bytes > 0) as multipliers,
       b.balance,
       concat_ws(', ',
           case when sum(u.rated_bytes) = 0 then 'within the included quota'
                when sum(u.included_bytes) > 0 then 'quota used up'
                else 'quota used up before' end,
           case when bool_or(u.is_reset) then 'restart counted from zero' end,
           case when max(u.spans_minutes) > 1 then 'gap of ' || max(u.spans_minutes) || ' min kept' end,
           case when count(distinct u.source_id) > 1 then count(distinct u.source_id) || ' sources' end) as why
from billing.usage_minutes u
join billing_core.accounts a using (account_uuid)
join billing_core.account_balances b using (account_key)
where u.minute >= %(start)s and u.minute < %(end)s
group by u.account_uuid, b.balance
order by sum(u.amount) desc nulls last, u.account_uuid
