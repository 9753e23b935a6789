-- Purpose:    drops payloads that nobody needs any more: delivered before a moment, and their hour reconciled clean since.
--             Key, sizes, counts and digests stay.
-- Grain:      one row per object, those delivered first first.
-- Parameters: before timestamptz, most int
with due as (
    select batch.batch_id
    from billing_core.batches as batch
    where batch.delivered_at < %(before)s and batch.payload_dropped_at is null
        and not exists (
            select from billing_core.reconciliations as result
            where result.hour = batch.hour and result.status = 'different'
        )
        and (
            select count(*)
            from billing_core.reconciliations as result
            where result.hour = batch.hour and result.check_name in ('facts_events', 'sealed_stored')
                and result.status in ('clean', 'repaired') and result.checked_at > batch.delivered_at
        ) = 2
    order by batch.delivered_at
    limit %(most)s
    for update skip locked
)
update billing_core.batches as batch
set payload = null, payload_dropped_at = clock_timestamp()
from due
where batch.batch_id = due.batch_id
