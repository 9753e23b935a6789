-- Purpose: quota, usage and money by account and billing period
-- Grain:   account and billing period
create or replace view billing.account_months as
with periods as (
    select h.account_key, billing_core.period_hour(h.hour, billing_core.anchor_day()) as period_hour,
           billing_core.capped(sum(h.quantity)) as total_bytes, max(h.hour) filter (where h.quantity > 0) as last_hour
    from billing_core.account_hours h
    where h.meter_id = 1
    group by 1, 2
), posted as (
    select e.account_key, e.period_hour, sum(e.amount) as amount
    from billing_core.ledger_entries e
    where e.entry_type <> 'credit'
    group by 1, 2
)
select a.account_uuid, to_timestamp(p.period_hour * 3600.0) as period_start,
       to_timestamp(billing_core.next_period_hour(p.period_hour) * 3600.0) as period_end,
       coalesce(p.total_bytes, 0) as bytes, q.quota as quota,
       least(q.quota, coalesce(p.total_bytes, 0)) as used,
       greatest(q.quota - coalesce(p.total_bytes, 0), 0) as remaining,
       coalesce(l.amount, 0) as amount, b.balance, b.arrears,
       coalesce(
           (select to_timestamp(max(f.minute) * 60.0)
            from billing_core.series s join billing_core.facts f using (series_id)
            where s.account_key = p.account_key and s.meter_id = 1
              and f.minute >= p.last_hour * 60 and f.minute < (p.last_hour + 1) * 60),
           (select to_timestamp(k.last_minute * 60.0)
            from billing_core.archived_accounts k
            where k.account_key = p.account_key and k.day = p.last_hour / 24)) as last_minute
from (select account_key, period_hour, total_bytes, last_hour from periods
      union all
      select account_key, period_hour, null, null from posted
      where not exists (select from periods x where x.account_key = posted.account_key and x.period_hour = posted.period_hour)) p
join billing_core.accounts a using (account_key)
join billing_core.account_balances b using (account_key)
cross join lateral (select billing_core.included_quota(p.account_key, p.period_hour) as quota) q
left join posted l on l.account_key = p.account_key and l.period_hour = p.period_hour;
comment on view billing.account_months is 'Quota, usage and posted money. Grain: one row per account and billing period with usage or postings. Source: the facts of usage_minutes, price book and ledger.';
comment on column billing.account_months.account_uuid is 'Account, as the samples name it.';
comment on column billing.account_months.period_start is 'Start of the billing period, UTC.';
comment on column billing.account_months.period_end is 'End of the billing period, exclusive, UTC.';
comment on column billing.account_months.bytes is 'Bytes up and down in the period.';
comment on column billing.account_months.quota is 'Included quota in bytes: the one in force at the first minute of the period (R3).';
comment on column billing.account_months.used is 'Quota used in the period, in bytes.';
comment on column billing.account_months.remaining is 'Quota left in the period, in bytes; never below 0.';
comment on column billing.account_months.amount is 'Charges and adjustments posted in the period (R7), in the currency of the price book, exact.';
comment on column billing.account_months.balance is 'Balance of the account now, not at the end of the period (R6), in the currency of the price book.';
comment on column billing.account_months.arrears is 'What the balance is below zero now, else 0, in the currency of the price book.';
comment on column billing.account_months.last_minute is 'Start of the last minute with bytes in the period, UTC; null: none.';
