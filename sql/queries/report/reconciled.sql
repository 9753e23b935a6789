-- Purpose: results of each check. Grain: check. Parameters: start, end.
select check_name, count(*) as hours,
       case when count(*) filter (where status = 'different') > 0 then 'different'
            when count(*) filter (where status = 'repaired') > 0 then 'repaired'
            when count(*) filter (where status = 'clean') > 0 then 'clean' else 'skipped' end as status,
       count(*) filter (where status = 'clean') as clean, count(*) filter (where status = 'repaired') as repaired,
       count(*) filter (where status = 'different') as different, count(*) filter (where status = 'skipped') as skipped
from billing.reconciliations where hour >= %(start)s and hour < %(end)s
group by check_name order by min(run_id), check_name
