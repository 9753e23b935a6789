-- Purpose: which accounts were erased, for auditors; the identifiers themselves are gone
-- Grain:   erased account
create or replace view billing.erasures as
select e.erasure_id, a.account_uuid, to_timestamp(e.first_hour * 3600.0) as first_hour, e.reason, e.erased_by, e.run_id, e.erased_at
from billing_core.erasures e
join billing_core.accounts a using (account_key);
comment on view billing.erasures is 'Accounts whose identifiers were erased. Grain: one row per account. Source: `billing-etl erase`. Bytes and money of the account stay under the uuid that it has here, which leads to nobody.';
comment on column billing.erasures.erasure_id is 'Identifier of the erasure.';
comment on column billing.erasures.account_uuid is 'Account as it is called since; chosen at random.';
comment on column billing.erasures.first_hour is 'First hour in which the account has usage, UTC; null: none.';
comment on column billing.erasures.reason is 'Why it was erased, as given.';
comment on column billing.erasures.erased_by is 'Who erased it: as given, else the login at the database.';
comment on column billing.erasures.run_id is 'Identifier of the run that erased it.';
comment on column billing.erasures.erased_at is 'When it was erased, UTC.';
