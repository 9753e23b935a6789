-- Purpose: bad samples of an hour, as the digest of a statement takes them in.
-- Grain:   sample. {hour}: hours since 1970.
copy (
    select
        source.source_id, bad.ordinal, node.env, node.node_id, bad.instant_ns, bad.account_uuid,
        bad.inbound_tag, bad.reason, bad.raw_text
    from billing_core.quarantine as bad
    join billing_core.sources as source using (source_key)
    join billing_core.nodes as node using (node_key)
    where bad.hour = {hour}
    order by source.source_id collate "C", bad.ordinal
) to stdout
