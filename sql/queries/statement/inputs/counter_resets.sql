-- Purpose: counters that fell in an hour, as the digest of a statement takes them in.
-- Grain:   series and instant. {hour}: hours since 1970.
copy (
    select
        series_id, instant_ns, is_node_restart, uplink_before, downlink_before, uplink_after, downlink_after
    from billing_core.counter_resets
    where hour = {hour}
    order by series_id, instant_ns
) to stdout
