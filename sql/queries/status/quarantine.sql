-- Purpose: quarantined samples, newest first. Grain: sample.
select * from billing.quarantine order by collected_at desc, source_id, ordinal
