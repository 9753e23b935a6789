-- Purpose:    what the next sealing of an hour has to say: facts not sealed yet in full, and the signed
--             difference of facts that changed, or vanished, since they were sealed.
-- Grain:      one row per changed fact, ordered by account, minute, series.
-- Parameters: hour int, meter_id int, sealings int, first_minute int, end_minute int (exclusive),
--             default_region text
with changed as (
    select
        fact.series_id,
        fact.minute,
        fact.uplink_quantity - coalesce(sealed.uplink_quantity, 0) as uplink_change,
        fact.downlink_quantity - coalesce(sealed.downlink_quantity, 0) as downlink_change,
        fact.uplink_quantity as uplink_total,
        fact.downlink_quantity as downlink_total,
        fact.revision,
        sealed.revision as corrects
    from billing_core.facts as fact
    left join billing_core.sealed_facts as sealed using (series_id, minute)
    where fact.minute >= %(first_minute)s and fact.minute < %(end_minute)s
        and fact.sealing > %(sealings)s
    union all
    select
        sealed.series_id,
        sealed.minute,
        -sealed.uplink_quantity,
        -sealed.downlink_quantity,
        0,
        0,
        sealed.revision + 1,
        sealed.revision
    from billing_core.sealed_facts as sealed
    where sealed.minute >= %(first_minute)s and sealed.minute < %(end_minute)s
        and (sealed.uplink_quantity, sealed.downlink_quantity) <> (0, 0)
        and not exists (
            select from billing_core.facts as fact
            where fact.series_id = sealed.series_id and fact.minute = sealed.minute
        )
),
dated_region as (
    select
        source_key,
        region,
        from_minute,
        lead(from_minute) over (partition by source_key order by from_minute) as end_minute
    from billing_core.source_regions
)
select
    source.source_id,
    node.env,
    node.node_id,
    account.account_uuid::text,
    series.inbound_tag,
    meter.meter,
    meter.unit,
    meter.resource_type,
    coalesce(dated_region.region, %(default_region)s),
    changed.minute,
    changed.uplink_change,
    changed.downlink_change,
    changed.uplink_total,
    changed.downlink_total,
    changed.revision,
    changed.corrects,
    erased.ids[1]::text,
    erased.ids[changed.corrects + 1]::text
from changed
join billing_core.series using (series_id)
join billing_core.meters as meter using (meter_id)
join billing_core.accounts as account using (account_key)
join billing_core.nodes as node using (node_key)
join billing_core.sources as source using (source_key)
left join billing_core.erased_events as erased
    on erased.series_id = changed.series_id and erased.minute = changed.minute
left join dated_region
    on dated_region.source_key = node.source_key
    and dated_region.from_minute <= changed.minute
    and coalesce(dated_region.end_minute > changed.minute, true)
where series.meter_id = %(meter_id)s
    and (changed.corrects is null or (changed.uplink_change, changed.downlink_change) <> (0, 0))
order by account.account_uuid, changed.minute, changed.series_id
