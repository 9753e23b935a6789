-- Purpose:    what was collected of each hour by each source that takes part in it: enabled, and begun by then (C12),
--             or collected all the same.
-- Grain:      hour and source; without a collection the state is `failed` or `missing`.
-- Parameters: start int, end int (hours, end exclusive)
select
    hour.hour,
    source.source_id,
    coalesce(
        source_hour.state, case when failed.hour is null then 'missing' else 'failed' end
    ) as state,
    coalesce(source_hour.missing_minutes, 60) as missing_minutes,
    coalesce(source_hour.expected_snapshots, 0) as expected_snapshots,
    coalesce(source_hour.snapshots, 0) as snapshots,
    coalesce(source_hour.samples, 0) as samples,
    coalesce(source_hour.used, 0) as used,
    coalesce(source_hour.duplicates, 0) as duplicates,
    coalesce(source_hour.baselines, 0) as baselines,
    coalesce(source_hour.quarantined, 0) as quarantined
from generate_series(%(start)s::int, %(end)s::int - 1) as hour (hour)
cross join billing_core.sources as source
left join billing_core.source_hours as source_hour
    on source_hour.source_key = source.source_key and source_hour.hour = hour.hour
left join billing_core.failed_source_hours as failed
    on failed.source_key = source.source_key and failed.hour = hour.hour
where source_hour.hour is not null or (source.enabled and source.first_hour <= hour.hour)
order by hour.hour, source.source_id collate "C"
