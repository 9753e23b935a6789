-- Purpose: events leave in more than one form: the envelope of each batch, and Parquet files beside the lines.
-- Grain:   batch.

alter table billing_core.batches
    add column envelope text not null default 'billing_event',
    drop constraint batches_kind_check,
    add constraint batches_kind_check check (kind in ('events', 'manifest', 'parquet'));
-- What was sealed before has the first envelope; from now on every batch says which.
alter table billing_core.batches alter column envelope drop default;

comment on column billing_core.batches.envelope is
    'Form of the lines of an events batch, as it was sealed: later settings do not change how it is read. Other kinds: their own name.';
