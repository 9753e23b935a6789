-- Purpose:    names of series as archived facts bear them.
-- Grain:      series.
-- Parameters: series_ids bigint[]
select
    series.series_id, meter.meter as event_type, account.account_uuid::text as account_uuid, source.source_id, node.env,
    node.node_id, series.inbound_tag, node.source_key
from billing_core.series
join billing_core.meters as meter using (meter_id)
join billing_core.accounts as account using (account_key)
join billing_core.nodes as node using (node_key)
join billing_core.sources as source using (source_key)
where series.series_id = any(%(series_ids)s)
