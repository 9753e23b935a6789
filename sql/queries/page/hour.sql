-- Purpose: all that is known of one hour of a source: its coverage, and the last collection that failed.
-- Grain:   one row; none when the source was never collected. state null: no collection of the hour succeeded.
-- Parameters: source_id, hour.
select s.source_id, s.interval_seconds, h.state, h.expected_snapshots, h.snapshots, h.samples, h.used, h.duplicates, h.baselines,
       h.quarantined, h.missing_minutes, billing_core.instant(h.first_ns) as first_instant,
       billing_core.instant(h.last_ns) as last_instant, h.changed_at, h.run_id, r.external_id,
       f.failed_at, left(f.error, 4000) as error, f.run_id as failed_run_id, b.external_id as failed_external_id
from billing_core.sources s
left join billing_core.source_hours h on h.source_key = s.source_key and h.hour = %(hour)s
left join billing_core.runs r on r.run_id = h.run_id
left join billing_core.failed_source_hours f on f.source_key = s.source_key and f.hour = %(hour)s
left join billing_core.runs b on b.run_id = f.run_id
where s.source_id = %(source_id)s
