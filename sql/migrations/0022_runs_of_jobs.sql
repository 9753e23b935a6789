-- Purpose: finds the latest run of a job, and all steps of one run, without reading the history of runs.
--          A step's external_id is `<job> <run of the job> <step>`.
-- Grain:   run record.

create index runs_latest_of_job on billing_core.runs (split_part(external_id, ' ', 1), run_id)
    where external_id is not null;
create index runs_by_external_id on billing_core.runs ((external_id collate "C")) where external_id is not null;
