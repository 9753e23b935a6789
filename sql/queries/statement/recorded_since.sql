-- Purpose:    runs that may have changed an hour without a ledger entry or an event of it: they changed a source-hour at or
--             before it, which can move first deltas (C14), or the price book, or erased an account. A run that ended before was seen then.
-- Grain:      run and hour; the hour of prices is that from which they apply.
-- Parameters: end int (exclusive), since timestamptz
select source_hour.hour, 'collected ' || source.source_id as what, run.run_id
from billing_core.source_hours as source_hour
join billing_core.sources as source using (source_key)
join billing_core.runs as run using (run_id)
where source_hour.hour < %(end)s and coalesce(run.finished_at > %(since)s, true)
union
select version.from_minute / 60, 'prices ' || version.price_version, run.run_id
from billing_core.price_versions as version
join billing_core.runs as run using (run_id)
where version.from_minute < %(end)s * 60 and coalesce(run.finished_at > %(since)s, true)
union
select member.from_minute / 60, 'plan ' || member.plan, run.run_id
from billing_core.plan_members as member
join billing_core.runs as run using (run_id)
where member.from_minute < %(end)s * 60 and coalesce(run.finished_at > %(since)s, true)
union
select erasure.first_hour, 'erasure ' || erasure.erasure_id, erasure.run_id
from billing_core.erasures as erasure
where erasure.first_hour < %(end)s and erasure.erased_at > %(since)s
order by 1, 2
