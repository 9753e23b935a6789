-- Purpose: keeps the oldest snapshot that an exporter served just now. Grain: source. Conflict key: source_key.
-- Parameters: source_id, oldest_ns.
insert into billing_core.source_retention as r (source_key, oldest_ns, asked_at)
select source_key, %(oldest_ns)s, clock_timestamp() from billing_core.sources where source_id = %(source_id)s
on conflict (source_key) do update set oldest_ns = excluded.oldest_ns, asked_at = excluded.asked_at
