-- Purpose: what was sealed for delivery, byte for byte, and what became of it; reconciliation results.
-- Grain:   hour and event type; batch; fact changed after its sealing; hour and check.

create table billing_core.deliveries (
    hour int not null,
    meter_id smallint not null references billing_core.meters,
    sealings smallint not null default 0,
    sealed_at timestamptz,
    open_sources text[] not null default '{}',
    primary key (hour, meter_id)
);
comment on table billing_core.deliveries is
    'sealings counts how often the hour was sealed; facts with facts.sealing above it are not sealed yet. Locked by sealing and by collecting of the same hour.';

-- The sealed payload is the spool: a retry sends the same bytes to the same key.
create table billing_core.batches (
    batch_id bigint generated always as identity primary key,
    hour int not null,
    meter_id smallint not null,
    sealing smallint not null,
    ordinal int not null,
    kind text not null check (kind in ('events', 'manifest')),
    bucket text not null,
    object_key text not null,
    events int not null,
    net_quantity bigint not null,
    size_bytes bigint not null,
    sha256 bytea not null,
    event_ids_sha256 bytea not null,
    payload bytea not null,
    run_id bigint not null,
    sealed_at timestamptz not null default clock_timestamp(),
    delivered_at timestamptz,
    attempts int not null default 0,
    last_error text,
    unique (bucket, object_key),
    unique (hour, meter_id, sealing, kind, ordinal),
    foreign key (hour, meter_id) references billing_core.deliveries
);
comment on column billing_core.batches.payload is 'The exact bytes of the object, gzip-compressed.';
create index batches_pending on billing_core.batches (hour) where delivered_at is null;

-- The state in which a fact was last sealed, kept only for facts that changed (or vanished) since.
create table billing_core.sealed_facts (
    series_id int not null,
    minute int not null,
    revision smallint not null,
    uplink_quantity bigint not null,
    downlink_quantity bigint not null,
    primary key (series_id, minute)
);
comment on table billing_core.sealed_facts is
    'Written by collecting before it changes or removes a sealed fact; read by the next sealing, which sends the signed difference. A vanished fact keeps its row, so that revisions never restart.';

create table billing_core.reconciliations (
    hour int not null,
    check_name text not null,
    expected text not null,
    actual text not null,
    difference text not null,
    status text not null check (status in ('clean', 'repaired', 'different', 'skipped')),
    repaired text not null default '',
    details jsonb not null default '[]',
    checked_at timestamptz not null default clock_timestamp(),
    run_id bigint not null,
    primary key (hour, check_name)
);
