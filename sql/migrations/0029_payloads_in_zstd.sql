-- Purpose:    says how sealed payloads are compressed: less work than gzip, in both directions, and smaller.
-- Payloads stored before keep their gzip and are read as such.

comment on column billing_core.batches.payload is
    'The exact bytes of the object, compressed with zstd (gzip by earlier versions); null: dropped, see payload_dropped_at.';
