-- Purpose: sealed objects of an hour with their digests, as the digest of a statement takes them in.
-- Grain:   object, in the order of sealing. {hour}: hours since 1970.
copy (
    select
        batch_id, meter_id, sealing, kind, envelope, ordinal, bucket, object_key, events, net_quantity, size_bytes,
        encode(sha256, 'hex'), encode(event_ids_sha256, 'hex'), run_id,
        (extract(epoch from sealed_at) * 1000000)::bigint
    from billing_core.batches
    where hour = {hour}
    order by batch_id
) to stdout
