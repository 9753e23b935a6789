-- Purpose:    both sides of invariant 1: what the counters of an hour say, and what its facts say.
-- Grain:      one row per series; a side that is not there is null.
-- Parameters: hour int, first_minute int, end_minute int (exclusive)
-- The counters say: last - first predecessor + totals standing before each reset. The predecessor
-- of a born or charged series (3, 6) is zero, of a baseline or implausible birth (4, 5) its first sample.
with standing_before_resets as (
    select series_id, sum(uplink_before) as uplink, sum(downlink_before) as downlink
    from billing_core.counter_resets
    where hour = %(hour)s
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
    where closing.hour = %(hour)s and not closing.provisional
),
facts as (
    select fact.series_id, sum(fact.uplink_quantity) as uplink, sum(fact.downlink_quantity) as downlink
    from billing_core.facts as fact
    where fact.minute >= %(first_minute)s and fact.minute < %(end_minute)s
    group by fact.series_id
)
select
    source.source_id,
    node.env,
    node.node_id,
    account.account_uuid::text,
    series.inbound_tag,
    counters.uplink::numeric,
    counters.downlink::numeric,
    facts.uplink::numeric,
    facts.downlink::numeric
from counters
full join facts using (series_id)
join billing_core.series using (series_id)
join billing_core.accounts as account using (account_key)
join billing_core.nodes as node using (node_key)
join billing_core.sources as source using (source_key)
where source.kind = 'counter_exporter'
