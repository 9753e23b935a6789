-- Purpose: the coverage of a source-hour (C12). Conflict key: (source_key, hour); unchanged rows stay untouched.
insert into billing_core.source_hours as h (
    source_key, hour, state, expected_snapshots, snapshots, samples, used, duplicates, baselines,
    quarantined, missing_minutes, first_ns, last_ns, content_hash, run_id)
values (%(source_key)s, %(hour)s, %(state)s, %(expected_snapshots)s, %(snapshots)s, %(samples)s, %(used)s,
        %(duplicates)s, %(baselines)s, %(quarantined)s, %(missing_minutes)s, %(first_ns)s, %(last_ns)s,
        %(content_hash)s, %(run_id)s)
on conflict (source_key, hour) do update
set (state, expected_snapshots, snapshots, samples, used, duplicates, baselines, quarantined,
     missing_minutes, first_ns, last_ns, content_hash, changed_at, run_id)
  = (excluded.state, excluded.expected_snapshots, excluded.snapshots, excluded.samples, excluded.used,
     excluded.duplicates, excluded.baselines, excluded.quarantined, excluded.missing_minutes,
     excluded.first_ns, excluded.last_ns, excluded.content_hash, clock_timestamp(), excluded.run_id)
where (h.state, h.expected_snapshots, h.snapshots, h.samples, h.used, h.duplicates, h.baselines,
       h.quarantined, h.missing_minutes, h.first_ns, h.last_ns, h.content_hash)
   is distinct from
      (excluded.state, excluded.expected_snapshots, excluded.snapshots, excluded.samples, excluded.used,
       excluded.duplicates, excluded.baselines, excluded.quarantined, excluded.missing_minutes,
       excluded.first_ns, excluded.last_ns, excluded.content_hash)
