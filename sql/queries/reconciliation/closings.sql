-- Purpose:    first and last sample of every series that was seen in a source-hour.
-- Grain:      one row per series.
-- Parameters: source_id text, hour int
select
    node.env,
    node.node_id,
    account.account_uuid::text,
    series.inbound_tag,
    closing.first_ns,
    closing.first_uplink,
    closing.first_downlink,
    closing.last_ns,
    closing.last_uplink,
    closing.last_downlink
from billing_core.sources as source
join billing_core.nodes as node using (source_key)
join billing_core.series using (node_key)
join billing_core.closings as closing using (series_id)
join billing_core.accounts as account using (account_key)
where source.source_id = %(source_id)s and closing.hour = %(hour)s and not closing.provisional
