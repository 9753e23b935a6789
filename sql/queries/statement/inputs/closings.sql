-- Purpose: first and last counters of an hour with the names of their series, as the digest of a statement takes them in.
-- Grain:   series. {hour}: hours since 1970.
copy (
    select
        closing.series_id, source.source_id, node.env, node.node_id, encode(billing_core.account_digest(account.account_uuid, erasure.former_sha256), 'hex'), series.inbound_tag,
        series.meter_id, closing.first_ns, closing.first_uplink, closing.first_downlink, closing.last_ns,
        closing.last_uplink, closing.last_downlink, closing.prev_ns, closing.prev_uplink,
        closing.prev_downlink, closing.first_kind, closing.reset_after_first
    from billing_core.closings as closing
    join billing_core.series using (series_id)
    join billing_core.accounts as account using (account_key)
    left join billing_core.erasures as erasure using (account_key)
    join billing_core.nodes as node using (node_key)
    join billing_core.sources as source using (source_key)
    where closing.hour = {hour} and not closing.provisional
    order by closing.series_id
) to stdout
