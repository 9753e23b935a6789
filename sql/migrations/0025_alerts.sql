-- Purpose: what alerts are made of: how far back each exporter serves, thresholds, alerts, and what was sent about them.
-- Grain:   source; rule; alert; notice to one connection.

create table billing_core.source_retention (
    source_key int primary key references billing_core.sources,
    oldest_ns bigint not null,
    asked_at timestamptz not null
);
comment on table billing_core.source_retention is
    'The oldest snapshot that an exporter served when it was asked last, after an hour was collected.';

create table billing_core.objectives (
    rule text primary key,
    unit text not null,
    threshold numeric,
    noted_at timestamptz not null default clock_timestamp()
);
comment on table billing_core.objectives is
    'Thresholds as the settings of the last run that watched; null: the rule is off. The view billing.objectives judges by them.';

create table billing_core.alerts (
    alert_id bigint generated always as identity primary key,
    rule text not null,
    subject text not null,
    what text not null,
    remedy text not null,
    value numeric,
    threshold numeric,
    since timestamptz not null,
    opened_at timestamptz not null,
    closed_at timestamptz
);
create unique index alerts_open on billing_core.alerts (rule, subject) where closed_at is null;
comment on table billing_core.alerts is
    'One row per time that a rule was broken for a subject, from when it was seen until it is over; at most one is open.';

create table billing_core.alert_notices (
    notice_no bigint generated always as identity primary key,
    notice_id uuid not null unique default gen_random_uuid(),
    alert_id bigint not null references billing_core.alerts,
    kind text not null check (kind in ('opened', 'reminder', 'resolved')),
    connection text not null,
    made_at timestamptz not null,
    sent_at timestamptz,
    attempts int not null default 0,
    last_error text
);
create index alert_notices_alert on billing_core.alert_notices (alert_id);
create index alert_notices_unsent on billing_core.alert_notices (connection, notice_no) where sent_at is null;
comment on table billing_core.alert_notices is
    'What is told to one connection about an alert; made with the change it tells, sent at least once under its id, in the order of notice_no.';
