-- Purpose: quota and balance now, as account services read them
-- Grain:   account
create or replace view account_read_model.account_quota_states as
select a.account_uuid, greatest(q.quota - u.quantity, 0)::bigint as remaining_included_quota,
       b.balance::double precision as current_balance, b.balance < 0 as arrears, b.arrears_since, b.throttle_state,
       b.suspend_state,
       coalesce(
           (select to_timestamp(max(f.minute) * 60.0)
            from billing_core.series s join billing_core.facts f using (series_id)
            where s.account_key = a.account_key and s.meter_id = 1 and f.rate_id <> 0
              and f.minute >= r.hour * 60 and f.minute < (r.hour + 1) * 60),
           (select to_timestamp(k.last_minute * 60.0)
            from billing_core.archived_accounts k
            where k.account_key = a.account_key and k.day = r.hour / 24)) as last_rated_bucket_at,
       to_timestamp(p.period_hour * 3600.0) as effective_at, b.updated_at
from billing_core.accounts a
join billing_core.account_balances b using (account_key)
cross join (
    select billing_core.period_hour(floor(extract(epoch from now()) / 3600)::int, billing_core.anchor_day()) as period_hour
) p
cross join lateral (select billing_core.included_quota(a.account_key, p.period_hour) as quota) q
cross join lateral (
    select coalesce(sum(h.quantity), 0) as quantity
    from billing_core.account_hours h
    where h.account_key = a.account_key and h.meter_id = 1 and h.hour >= p.period_hour
      and h.hour < billing_core.next_period_hour(p.period_hour)
) u
left join lateral (
    select h.hour from billing_core.account_hours h
    where h.account_key = a.account_key and h.meter_id = 1 and h.rated and h.quantity > 0
    order by h.hour desc limit 1
) r on true;
comment on view account_read_model.account_quota_states is 'Quota and balance now. Grain: one row per account. Source: facts, price book and ledger; by billing period in billing.account_months.';
comment on column account_read_model.account_quota_states.account_uuid is 'Account, as the samples name it.';
comment on column account_read_model.account_quota_states.remaining_included_quota is 'Quota left in the billing period that runs now, in bytes (R3): usage counts as soon as it is collected.';
comment on column account_read_model.account_quota_states.current_balance is 'Balance now (R6), in the currency of the price book.';
comment on column account_read_model.account_quota_states.arrears is 'True: the balance is below zero.';
comment on column account_read_model.account_quota_states.arrears_since is 'Start of the account-hour whose entry took the balance below zero, UTC; null: no arrears (R6).';
comment on column account_read_model.account_quota_states.throttle_state is 'normal, or throttled while the balance is below zero (R6).';
comment on column account_read_model.account_quota_states.suspend_state is 'active or suspended: in arrears for longer than the grace (R6); since when and why is in billing.suspensions.';
comment on column account_read_model.account_quota_states.last_rated_bucket_at is 'Start of the last rated minute with bytes, UTC; null: none.';
comment on column account_read_model.account_quota_states.effective_at is 'Start of the billing period that the quota is of, UTC (R3).';
comment on column account_read_model.account_quota_states.updated_at is 'When the balance last moved, or the account was made, UTC.';
