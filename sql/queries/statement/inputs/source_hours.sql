-- Purpose: coverage of the source-hours of an hour, as the digest of a statement takes it in.
-- Grain:   source. {hour}: hours since 1970.
copy (
    select
        source.source_id, source_hour.state, source_hour.expected_snapshots, source_hour.snapshots,
        source_hour.samples, source_hour.used, source_hour.duplicates, source_hour.baselines,
        source_hour.quarantined, source_hour.missing_minutes, source_hour.first_ns, source_hour.last_ns,
        encode(source_hour.content_hash, 'hex')
    from billing_core.source_hours as source_hour
    join billing_core.sources as source using (source_key)
    where source_hour.hour = {hour}
    order by source.source_id collate "C"
) to stdout
