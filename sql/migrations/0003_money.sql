-- Purpose: price book, ratings and the append-only ledger (R1-R7).
-- Grain:   one row per price version, plan membership, rate, account-hour, closed period, ledger entry, balance.

create function billing_core.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% of % is refused: its rows are append-only', lower(tg_op), tg_table_name
        using hint = 'append a correcting row instead', errcode = 'restrict_violation';
end $$;

create table billing_core.price_versions (
    price_version_id int generated always as identity primary key,
    price_version text not null unique,
    meter_id smallint not null references billing_core.meters,
    scope text not null check (scope in ('default', 'plan', 'account')),
    scope_key text not null,
    from_minute int not null,
    price_per_unit numeric not null check (price_per_unit >= 0),
    included_quota bigint check (included_quota >= 0),
    region_multipliers jsonb not null default '{}',
    line_multipliers jsonb not null default '{}',
    peak_multiplier numeric not null default 1 check (peak_multiplier >= 0),
    offpeak_multiplier numeric not null default 1 check (offpeak_multiplier >= 0),
    peak_time_zone text not null default 'UTC',
    peak_hours int[] not null default '{}',
    published_at timestamptz not null default clock_timestamp(),
    run_id bigint not null,
    unique (meter_id, scope, scope_key, from_minute)
);
comment on table billing_core.price_versions is
    'Dated prices: a version applies from from_minute until the next of the same scope (R2). Multipliers are decimal strings by region and by inbound tag, 1 when not named.';
comment on column billing_core.price_versions.included_quota is 'Per account and period; null: the next wider scope decides.';

create table billing_core.plan_members (
    account_key int not null references billing_core.accounts,
    from_minute int not null,
    plan text not null,
    run_id bigint not null,
    primary key (account_key, from_minute)
);
comment on table billing_core.plan_members is 'Dated membership; an empty plan ends it (R2).';

-- What a fact was rated with. Immutable, so an amount derived from it never changes.
create table billing_core.rates (
    rate_id int generated always as identity primary key,
    price_version_id int not null references billing_core.price_versions,
    price_per_unit numeric not null,
    region_multiplier numeric not null,
    line_multiplier numeric not null,
    time_multiplier numeric not null,
    multiplier numeric generated always as (region_multiplier * line_multiplier * time_multiplier) stored,
    amount_per_unit numeric generated always as (price_per_unit * region_multiplier * line_multiplier * time_multiplier) stored,
    unique (price_version_id, region_multiplier, line_multiplier, time_multiplier)
);

create table billing_core.account_hours (
    account_key int not null,
    hour int not null,
    meter_id smallint not null,
    quantity bigint not null,
    included_quantity bigint not null default 0,
    amount numeric not null default 0,
    rated boolean not null default false,
    stale boolean not null default true,
    primary key (account_key, meter_id, hour)
);
create index account_hours_stale on billing_core.account_hours (hour) where stale;
comment on table billing_core.account_hours is
    'Facts of an account summed per hour: the carry of the included quota (R4). stale: its facts or prices changed since they were rated, or they never were.';

create table billing_core.closed_periods (
    period_hour int primary key,
    closed_at timestamptz not null default clock_timestamp(),
    run_id bigint not null
);

create table billing_core.ledger_entries (
    entry_id bigint generated always as identity primary key,
    account_key int not null references billing_core.accounts,
    meter_id smallint references billing_core.meters,
    hour int,
    period_hour int not null,
    entry_type text not null,
    rated_quantity bigint not null,
    amount numeric not null,
    balance_after numeric not null,
    reason text not null,
    run_id bigint not null,
    created_at timestamptz not null default clock_timestamp()
);
create index ledger_entries_account_hour on billing_core.ledger_entries (account_key, hour);
create index ledger_entries_hour on billing_core.ledger_entries (hour);
comment on table billing_core.ledger_entries is
    'Append-only money (R5). hour: the account-hour the entry belongs to, null for credits; period_hour: first hour of the billing period it is posted in (R7).';

-- Balance = opening balance + credits - charges and adjustments (R6), kept with every entry's transaction.
create table billing_core.account_balances (
    account_key int primary key references billing_core.accounts,
    balance numeric not null,
    arrears numeric generated always as (greatest(-balance, 0)) stored,
    arrears_since timestamptz,
    throttle_state text not null check (throttle_state in ('normal', 'throttled')),
    suspend_state text not null check (suspend_state in ('active', 'suspended')),
    updated_at timestamptz not null default clock_timestamp()
);

create trigger ledger_append_only before update or delete on billing_core.ledger_entries
    for each row execute function billing_core.refuse_change();
create trigger ledger_no_truncate before truncate on billing_core.ledger_entries
    for each statement execute function billing_core.refuse_change();
create trigger price_versions_immutable before update or delete on billing_core.price_versions
    for each row execute function billing_core.refuse_change();
create trigger rates_immutable before update or delete on billing_core.rates
    for each row execute function billing_core.refuse_change();

-- First hour of the billing period that contains an hour: the anchor day of the month, UTC (R3).
create function billing_core.period_hour(hour int, anchor_day int) returns int language sql immutable as $$
    select (extract(epoch from
        date_trunc('month', (to_timestamp(hour * 3600.0) at time zone 'UTC') - make_interval(days => anchor_day - 1))
        + make_interval(days => anchor_day - 1)) / 3600)::int
$$;

-- First hour of the billing period after the one that starts at period_hour.
create function billing_core.next_period_hour(period_hour int) returns int language sql immutable as $$
    select (extract(epoch from
        (to_timestamp(period_hour * 3600.0) at time zone 'UTC') + interval '1 month') / 3600)::int
$$;

-- The period in which something of an hour is posted: its own, or the first open one after it (R7).
create function billing_core.posting_period_hour(hour int, anchor_day int) returns int language plpgsql stable as $$
declare
    period int := billing_core.period_hour(hour, anchor_day);
begin
    while exists (select from billing_core.closed_periods c where c.period_hour = period) loop
        period := billing_core.next_period_hour(period);
    end loop;
    return period;
end $$;
