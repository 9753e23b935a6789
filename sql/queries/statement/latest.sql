-- Purpose:    the latest signed statement of a span.
-- Grain:      at most one row.
-- Parameters: span text, start int
select
    statement_id, root, is_balanced, is_final, despite, supersedes, document, inputs, run_id, signed_at
from billing_core.statements
where span = %(span)s and start_hour = %(start)s
order by statement_id desc
limit 1
