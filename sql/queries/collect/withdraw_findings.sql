-- Purpose: closes open findings that the data no longer shows (C14). Grain: finding.
-- Parameters: kinds[], subjects[] (parallel), source_key, hour, run_id.
update billing_core.findings f
set closed_at = clock_timestamp(), closed_run_id = %(run_id)s, resolution = 'withdrawn'
from unnest(%(kinds)s::text[], %(subjects)s::text[]) as w (kind, subject)
where f.source_key = %(source_key)s and f.hour = %(hour)s and f.kind = w.kind and f.subject = w.subject
  and f.closed_at is null
