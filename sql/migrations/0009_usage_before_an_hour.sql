-- Purpose: keeps with a rated account-hour what its account had used before it in the billing period, as it was rated
--          with (R4). The next hour then needs one row of its account and not all of the month. Null: rated before
--          this was kept.
-- Grain:   account, meter and hour.

alter table billing_core.account_hours add column used_before bigint;
comment on column billing_core.account_hours.used_before is
    'Usage of the account in the billing period before the hour, as it was rated with; at most 2^63-1 (R4).';
