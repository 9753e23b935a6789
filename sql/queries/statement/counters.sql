-- Purpose:    bytes of an hour as its counters say them and as its facts do (invariant 1), and how many series differ.
-- Grain:      one row.
-- Parameters: hour int, meter_id int
-- The counters say: last - first predecessor + totals standing before each reset. The predecessor
-- of a born or charged series (3, 6) is zero, of a baseline or implausible birth (4, 5) its first sample.
with standing_before_resets as (
    select series_id, sum(uplink_before) as uplink, sum(downlink_before) as downlink
    from billing_core.counter_resets
    where hour = %(hour)s::int
    group by series_id
),
counters as (
    select
        closing.series_id,
        closing.last_uplink + coalesce(reset.uplink, 0) - case
            when closing.first_kind in (3, 6) then 0
            when closing.first_kind in (4, 5) then closing.first_uplink
            else closing.prev_uplink
        end as uplink,
        closing.last_downlink + coalesce(reset.downlink, 0) - case
            when closing.first_kind in (3, 6) then 0
            when closing.first_kind in (4, 5) then closing.first_downlink
            else closing.prev_downlink
        end as downlink
    from billing_core.closings as closing
    left join standing_before_resets as reset using (series_id)
    where closing.hour = %(hour)s::int and not closing.provisional
),
facts as (
    select
        fact.series_id, count(*) as facts, sum(fact.uplink_quantity) as uplink,
        sum(fact.downlink_quantity) as downlink
    from billing_core.facts as fact
    where fact.minute >= %(hour)s::int * 60 and fact.minute < (%(hour)s::int + 1) * 60
    group by fact.series_id
)
select
    count(counters.series_id) as series,
    coalesce(sum(facts.facts), 0)::bigint as facts,
    coalesce(sum(counters.uplink), 0)::numeric as counted_uplink,
    coalesce(sum(counters.downlink), 0)::numeric as counted_downlink,
    coalesce(sum(facts.uplink), 0)::numeric as fact_uplink,
    coalesce(sum(facts.downlink), 0)::numeric as fact_downlink,
    count(*) filter (
        where coalesce(facts.uplink, 0) is distinct from counters.uplink
    ) as uplink_differs,
    count(*) filter (
        where coalesce(facts.downlink, 0) is distinct from counters.downlink
    ) as downlink_differs
from counters
full join facts using (series_id)
join billing_core.series using (series_id)
where series.meter_id = %(meter_id)s
