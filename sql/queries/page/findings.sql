-- Purpose: open findings, newest first.
-- Grain:   finding. total: all open ones, also those beyond the limit.
-- Parameters: limit.
select f.finding_id, f.kind, s.source_id, to_timestamp(f.hour * 3600.0) as hour, f.check_name, left(f.message, 1000) as message,
       f.opened_at, count(*) over () as total
from billing_core.findings f
left join billing_core.sources s using (source_key)
where f.closed_at is null
order by f.opened_at desc, f.finding_id desc
limit %(limit)s
