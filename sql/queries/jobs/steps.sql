-- Purpose: the steps of one run of a job
-- Grain:   command and hours, the latest attempt of each
-- Parameters: job, job_run
select distinct on (r.command, r.hours) r.command, r.hours, r.started_at, r.finished_at, r.status, r.error, r.counts
from billing_core.runs r
where r.external_id collate "C" >= %(job)s || ' ' || %(job_run)s || ' '
  and r.external_id collate "C" < %(job)s || ' ' || %(job_run)s || '!'
order by r.command, r.hours, r.run_id desc
