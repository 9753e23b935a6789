-- Purpose:    whether any source has collected the hour; before that there is nothing to say about it.
-- Grain:      one row.
-- Parameters: hour int
select exists (select from billing_core.source_hours where hour = %(hour)s)
