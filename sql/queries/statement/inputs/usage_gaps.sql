-- Purpose: gaps that ended in an hour, as the digest of a statement takes them in.
-- Grain:   node, series (0: the node itself) and end. {hour}: hours since 1970.
copy (
    select source.source_id, node.env, node.node_id, gap.series_id, gap.from_ns, gap.until_ns, gap.quantity
    from billing_core.usage_gaps as gap
    join billing_core.nodes as node using (node_key)
    join billing_core.sources as source using (source_key)
    where gap.hour = {hour}
    order by gap.node_key, gap.series_id, gap.until_ns
) to stdout
