-- Purpose: the latest run of some jobs
-- Grain:   one row, or none when no such job ever ran
-- Parameters: jobs (names); commands (only runs with an ended step of these count; null: any step)
select split_part(latest.external_id, ' ', 1) as job, split_part(latest.external_id, ' ', 2) as job_run
from unnest(%(jobs)s::text[]) as wanted(job)
cross join lateral (
    select r.external_id, r.run_id
    from billing_core.runs r
    where split_part(r.external_id, ' ', 1) = wanted.job
      and r.external_id is not null
      and (%(commands)s::text[] is null or (r.command = any(%(commands)s::text[]) and r.finished_at is not null))
    order by r.run_id desc
    limit 1
) latest
order by latest.run_id desc
limit 1
