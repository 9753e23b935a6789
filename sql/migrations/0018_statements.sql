-- Purpose: signed reconciliation statements, and payloads that go once nobody needs them any more.
-- Grain:   signed statement; batch.

create table billing_core.statements (
    statement_id bigint generated always as identity primary key,
    span text not null check (span in ('day', 'month')),
    label text not null,
    start_hour int not null,
    end_hour int not null check (end_hour > start_hour),
    root bytea not null,
    is_balanced boolean not null,
    is_final boolean not null,
    despite text,
    supersedes bigint unique references billing_core.statements,
    document jsonb not null,
    inputs jsonb not null,
    run_id bigint not null,
    signed_at timestamptz not null default clock_timestamp(),
    check (is_balanced and is_final or despite is not null)
);
-- One line of statements per span: the first has no forerunner, no statement has two successors.
create unique index statements_first on billing_core.statements (span, start_hour) where supersedes is null;
comment on table billing_core.statements is
    'Signed reconciliation statements, append-only. inputs: rows and SHA-256 per hour and table; root: the digest over all of them.';

create trigger statements_append_only before update or delete on billing_core.statements
    for each row execute function billing_core.refuse_change();
create trigger statements_no_truncate before truncate on billing_core.statements
    for each statement execute function billing_core.refuse_change();

-- A payload goes when it is delivered, reconciled and old; key, sizes and digests stay for ever.
alter table billing_core.batches
    alter column payload drop not null,
    add column payload_dropped_at timestamptz,
    add check ((payload is null) = (payload_dropped_at is not null));
comment on column billing_core.batches.payload is
    'The exact bytes of the object, gzip-compressed; null: dropped, see payload_dropped_at.';
create index batches_kept_payloads on billing_core.batches (delivered_at)
    where delivered_at is not null and payload_dropped_at is null;
