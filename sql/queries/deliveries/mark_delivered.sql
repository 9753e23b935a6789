-- Purpose:    records objects that the object store confirmed, with the ETags it answered.
-- Grain:      one row per object; one per event type.
-- Parameters: batch_ids bigint[], etags text[]; the n-th ETag belongs to the n-th batch
-- Locked in one order: two runs that send the same objects mark the same rows. The ETag of an object
-- that was delivered before changes when a repair has stored it again.
with confirmed as (
    select * from unnest(%(batch_ids)s::bigint[], %(etags)s::text[]) as confirmed (batch_id, etag)
),
locked as (
    select batch.batch_id
    from billing_core.batches as batch
    join confirmed using (batch_id)
    order by batch.batch_id
    for update of batch
),
marked as (
    update billing_core.batches as batch
    set
        delivered_at = coalesce(batch.delivered_at, clock_timestamp()),
        attempts = batch.attempts + 1,
        last_error = null,
        etag = confirmed.etag
    from confirmed
    join locked using (batch_id)
    where batch.batch_id = confirmed.batch_id
        and (batch.delivered_at is null or batch.etag is distinct from confirmed.etag)
    returning batch.meter_id
)
update billing_core.delivery_heartbeats
set last_success = clock_timestamp()
where meter_id in (select meter_id from marked)
