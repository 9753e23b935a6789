-- Purpose: snapshots of an hour, as the digest of a statement takes them in.
-- Grain:   node and instant. {hour}: hours since 1970.
copy (
    select
        source.source_id, node.env, node.node_id, instant.instant_ns, instant.samples, instant.compared,
        instant.fell, instant.quantity, encode(instant.content_hash, 'hex')
    from billing_core.nodes as node
    join billing_core.sources as source using (source_key)
    join billing_core.node_instants as instant using (node_key)
    where instant.hour = {hour} and not instant.provisional
    order by node.node_key, instant.instant_ns
) to stdout
