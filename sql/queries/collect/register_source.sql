-- Purpose: makes a configured source known and keeps its settings current. Grain: source.
-- Conflict key: source_id. Gives source_key and whether the row is new.
insert into billing_core.sources as s (source_id, kind, enabled, interval_seconds)
values (%(source_id)s, %(kind)s, %(enabled)s, %(interval_seconds)s)
on conflict (source_id) do update
set kind = excluded.kind, enabled = excluded.enabled, interval_seconds = excluded.interval_seconds
where (s.kind, s.enabled, s.interval_seconds)
    is distinct from (excluded.kind, excluded.enabled, excluded.interval_seconds)
