-- Purpose:      appends a signed statement.
-- Grain:        one row.
-- Parameters:   span, label, start, end, root, is_balanced, is_final, despite, supersedes, document, inputs, run_id
-- Conflict key: (span, start_hour) of first ones, supersedes of later ones; a conflict is an error.
insert into billing_core.statements (
    span, label, start_hour, end_hour, root, is_balanced, is_final, despite, supersedes, document, inputs,
    run_id
)
values (
    %(span)s, %(label)s, %(start)s, %(end)s, %(root)s, %(is_balanced)s, %(is_final)s, %(despite)s,
    %(supersedes)s, %(document)s, %(inputs)s, %(run_id)s
)
returning statement_id, signed_at
