-- Purpose:    the state in which every fact of an hour was last sealed; the same rows as the function sealed_state.
-- Grain:      one row per sealed fact, vanished ones too (their quantities are zero).
-- Parameters: hour int, meter_id int, first_minute int, end_minute int (exclusive)
with state as (
    select series_id, minute, revision, uplink_quantity + downlink_quantity as quantity
    from billing_core.sealed_facts
    where minute >= %(first_minute)s and minute < %(end_minute)s
    union all
    select fact.series_id, fact.minute, fact.revision, fact.uplink_quantity + fact.downlink_quantity
    from billing_core.facts as fact
    where fact.minute >= %(first_minute)s and fact.minute < %(end_minute)s
        and fact.sealing <= (
            select sealings from billing_core.deliveries
            where hour = %(hour)s and meter_id = %(meter_id)s
        )
        and not exists (
            select from billing_core.sealed_facts as sealed
            where sealed.series_id = fact.series_id and sealed.minute = fact.minute
        )
)
select
    source.source_id,
    node.env,
    node.node_id,
    account.account_uuid::text,
    series.inbound_tag,
    state.minute,
    state.revision,
    state.quantity,
    erased.ids::text[]
from state
join billing_core.series using (series_id)
join billing_core.accounts as account using (account_key)
join billing_core.nodes as node using (node_key)
join billing_core.sources as source using (source_key)
left join billing_core.erased_events as erased
    on erased.series_id = state.series_id and erased.minute = state.minute
where series.meter_id = %(meter_id)s
