-- Purpose: keeps which sources the settings say are collected; one that left the settings is waited for no more.
-- Grain: source. Parameters: source_ids text[] (the enabled ones).
update billing_core.sources set enabled = source_id = any (%(source_ids)s)
where enabled <> (source_id = any (%(source_ids)s))
