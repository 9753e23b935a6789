-- Purpose:    every fact of an hour with what says whether, and as what, it was sealed.
-- Grain:      one row per fact.
-- Parameters: hour int, meter_id int, first_minute int, end_minute int (exclusive)
select
    fact.series_id,
    fact.minute,
    fact.uplink_quantity + fact.downlink_quantity,
    fact.revision,
    fact.sealing,
    erased.ids::text[],
    source.source_id,
    node.env,
    node.node_id,
    account.account_uuid::text,
    series.inbound_tag
from billing_core.facts as fact
join billing_core.series using (series_id)
join billing_core.accounts as account using (account_key)
join billing_core.nodes as node using (node_key)
join billing_core.sources as source using (source_key)
left join billing_core.erased_events as erased
    on erased.series_id = fact.series_id and erased.minute = fact.minute
where fact.minute >= %(first_minute)s and fact.minute < %(end_minute)s
    and series.meter_id = %(meter_id)s
