-- Purpose:    the next sealed objects of an hour to send, with their payloads.
-- Grain:      one row per object, in the order to send them: by sealing, the manifest after all of its batches.
-- Parameters: hour int, meter_id int, sealing int, kind text, ordinal int (what comes after it),
--             objects int (at most), bytes int (no further object once that many are read)
-- The length of a payload is known without reading it.
with next as (
    select
        batch_id,
        sum(octet_length(payload)) over earlier - octet_length(payload) as bytes_before
    from (
        select batch_id, sealing, kind, ordinal, payload
        from billing_core.batches
        where hour = %(hour)s and meter_id = %(meter_id)s and delivered_at is null
            and (sealing, kind = 'manifest', kind, ordinal)
            > (%(sealing)s, %(kind)s::text = 'manifest', %(kind)s::text, %(ordinal)s)
        order by sealing, kind = 'manifest', kind, ordinal
        limit %(objects)s
    ) as pending
    window earlier as (order by sealing, kind = 'manifest', kind, ordinal rows unbounded preceding)
)
select
    batch.batch_id, batch.sealing, batch.kind, batch.ordinal, batch.bucket, batch.object_key,
    batch.events, batch.size_bytes, batch.sha256, batch.payload
from billing_core.batches as batch
join next using (batch_id)
where next.bytes_before < %(bytes)s
order by batch.sealing, batch.kind = 'manifest', batch.kind, batch.ordinal
