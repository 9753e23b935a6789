-- Purpose:    closes findings whose difference was proven gone, or repaired.
-- Grain:      one row per finding.
-- Parameters: finding_ids bigint[], resolution text, repair text (null: stays), repaired_run_id bigint (null: not
--             repaired), run_id bigint
update billing_core.findings
set closed_at = clock_timestamp(),
    closed_run_id = %(run_id)s,
    resolution = %(resolution)s,
    repair = %(repair)s::text,
    repaired_run_id = %(repaired_run_id)s::bigint
where finding_id = any(%(finding_ids)s) and closed_at is null
