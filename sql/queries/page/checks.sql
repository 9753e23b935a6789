-- Purpose: results of each check of reconciliation.
-- Grain:   check.
-- Parameters: from_hour, to_hour (exclusive).
select r.check_name, count(*) filter (where r.status = 'clean') as clean, count(*) filter (where r.status = 'repaired') as repaired,
       count(*) filter (where r.status = 'different') as different, count(*) filter (where r.status = 'skipped') as skipped,
       to_timestamp(max(r.hour) * 3600.0) as last_hour, max(r.checked_at) as checked_at
from billing_core.reconciliations r
where r.hour >= %(from_hour)s and r.hour < %(to_hour)s
group by r.check_name
order by r.check_name
