-- Purpose:    the first collected hour of a source; no row: never collected.
-- Grain:      at most one row.
-- Parameters: source_id text
select first_hour from billing_core.sources
where source_id = %(source_id)s and first_hour is not null
