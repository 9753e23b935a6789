-- Purpose: coverage of each collected hour
-- Grain:   source and hour
create or replace view billing.source_hours as
select s.source_id, to_timestamp(h.hour * 3600.0) as hour, h.state, h.expected_snapshots, h.snapshots, h.samples,
       h.used, h.duplicates, h.baselines, h.quarantined, h.missing_minutes, encode(h.content_hash, 'hex') as content_hash,
       billing_core.instant(h.first_ns) as first_instant, billing_core.instant(h.last_ns) as last_instant,
       h.changed_at, h.run_id
from billing_core.source_hours h
join billing_core.sources s using (source_key)
union all
select s.source_id, to_timestamp(f.hour * 3600.0), 'partial', 0, 0, 0, 0, 0, 0, 0, 60, '', null, null, f.failed_at, f.run_id
from billing_core.failed_source_hours f
join billing_core.sources s using (source_key)
where not exists (select from billing_core.source_hours h where h.source_key = f.source_key and h.hour = f.hour);
comment on view billing.source_hours is 'Coverage and counts (C12). Grain: one row per source and UTC hour that was collected, or whose collection failed. Source: the snapshots that the exporter served.';
comment on column billing.source_hours.source_id is 'Source, as the settings name it.';
comment on column billing.source_hours.hour is 'Start of the hour, UTC.';
comment on column billing.source_hours.state is 'complete, partial or lost (C12); an hour whose collection failed is partial and empty.';
comment on column billing.source_hours.expected_snapshots is 'Count of snapshots that its nodes should have in the hour.';
comment on column billing.source_hours.snapshots is 'Count of snapshots seen.';
comment on column billing.source_hours.samples is 'Count of samples fetched = used + duplicates + baselines + quarantined.';
comment on column billing.source_hours.used is 'Count of samples that gave a delta, also a zero one.';
comment on column billing.source_hours.duplicates is 'Count of samples that repeated a series at an instant (C3, C6).';
comment on column billing.source_hours.baselines is 'Count of first samples that charge nothing (C7).';
comment on column billing.source_hours.quarantined is 'Count of bad samples put aside (C11).';
comment on column billing.source_hours.missing_minutes is 'Minutes in which some expected node has no snapshot.';
comment on column billing.source_hours.content_hash is 'Hash of every snapshot of the hour, hexadecimal.';
comment on column billing.source_hours.first_instant is 'First snapshot, UTC, to the microsecond.';
comment on column billing.source_hours.last_instant is 'Last snapshot, UTC, to the microsecond.';
comment on column billing.source_hours.changed_at is 'When the stored hour last changed, UTC.';
comment on column billing.source_hours.run_id is 'Identifier of the run that changed it.';
