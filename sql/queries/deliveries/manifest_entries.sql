-- Purpose:    all batches of an hour and kind so far, as its manifest names them.
-- Grain:      one row per batch, in sealing order.
-- Parameters: hour int, meter_id int, kind text (events or parquet)
select bucket, object_key, sealing, events, net_quantity, size_bytes, encode(sha256, 'hex'), envelope
from billing_core.batches
where hour = %(hour)s and meter_id = %(meter_id)s and kind = %(kind)s
order by sealing, ordinal
