-- Purpose: schemas, runs, and the dimensions that narrow facts point to.
-- Grain:   one row per run, meter, source, node, account, series; dated rows for regions.
-- Clocks:  hour and minute columns are int4, counted from 1970-01-01T00:00Z; *_ns are int8 nanoseconds.
-- Tables live in billing_core; analysts read the views in billing.

create table billing_core.runs (
    run_id bigint generated always as identity primary key,
    command text not null,
    hours text,
    external_id text,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    status text not null default 'running' check (status in ('running', 'success', 'failed')),
    error text,
    counts jsonb not null default '{}'
);
comment on table billing_core.runs is 'One row per command or task that changed or checked something; append-only history.';

-- Values of the environment that were taken once; a later difference is an error (R2).
create table billing_core.seeded_settings (
    name text primary key,
    value text not null,
    seeded_at timestamptz not null default clock_timestamp()
);

create table billing_core.meters (
    meter_id smallint primary key,
    meter text not null unique,
    unit text not null,
    resource_type text not null,
    charge_entry_type text not null
);
comment on table billing_core.meters is
    'What is counted. The meter''s name is the event type; quantity = uplink + downlink, a meter of one part uses uplink.';
insert into billing_core.meters values (1, 'traffic_bytes', 'byte', 'account', 'traffic_charge');

create table billing_core.sources (
    source_key int generated always as identity primary key,
    source_id text not null unique,
    kind text not null,
    enabled boolean not null,
    interval_seconds int not null,
    first_hour int,
    checkpoint_hour int,
    last_attempted_at timestamptz,
    last_succeeded_at timestamptz,
    last_error text
);
comment on column billing_core.sources.checkpoint_hour is
    'End of the contiguous complete-or-lost hours from first_hour (C12); written with the facts.';

create table billing_core.source_regions (
    source_key int not null references billing_core.sources,
    from_minute int not null,
    region text not null,
    primary key (source_key, from_minute)
);
comment on table billing_core.source_regions is 'Dated membership: the region of a source from a minute on (R2).';

create table billing_core.nodes (
    node_key int generated always as identity primary key,
    source_key int not null references billing_core.sources,
    env text not null,
    node_id text not null,
    shared boolean not null,
    unique (source_key, env, node_id)
);
-- C15: one (env, node) under two sources would bill twice, unless the second says so on purpose.
create unique index nodes_one_owner on billing_core.nodes (env, node_id) where not shared;

create table billing_core.accounts (
    account_key int generated always as identity primary key,
    account_uuid uuid not null unique,
    opening_balance numeric not null default 0,
    created_at timestamptz not null default clock_timestamp()
);

create table billing_core.series (
    series_id int generated always as identity primary key,
    node_key int not null references billing_core.nodes,
    account_key int not null references billing_core.accounts,
    inbound_tag text not null,
    meter_id smallint not null references billing_core.meters,
    unique (node_key, account_key, inbound_tag, meter_id)
);
create index series_account on billing_core.series (account_key);
