-- Purpose:    records a repair before it is begun.
-- Grain:      one row.
-- Parameters: hour int, check_name text, subject text, wrong text, action text, run_id bigint
insert into billing_core.repairs (hour, check_name, subject, wrong, action, run_id)
values (%(hour)s, %(check_name)s, %(subject)s, %(wrong)s, %(action)s, %(run_id)s)
returning repair_id
