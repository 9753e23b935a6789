-- Purpose:    records how a repair ended.
-- Grain:      one row.
-- Parameters: repair_id bigint, outcome text, detail text
insert into billing_core.repair_outcomes (repair_id, outcome, detail)
values (%(repair_id)s, %(outcome)s, %(detail)s)
