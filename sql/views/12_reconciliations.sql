-- Purpose: results of the reconciliation checks
-- Grain:   hour and check
create or replace view billing.reconciliations as
select to_timestamp(r.hour * 3600.0) as hour, r.check_name, r.expected, r.actual, r.difference, r.status, r.repaired <> '' as repaired, r.repaired as repair,
       r.details, r.checked_at, r.run_id
from billing_core.reconciliations r;
comment on view billing.reconciliations is 'Latest result per hour and check.';
comment on column billing.reconciliations.hour is 'Start of the hour, UTC.';
comment on column billing.reconciliations.check_name is 'Which two things were compared.';
comment on column billing.reconciliations.expected is 'What should be.';
comment on column billing.reconciliations.actual is 'What is.';
comment on column billing.reconciliations.difference is 'Measure and direction of the difference; empty when there is none.';
comment on column billing.reconciliations.status is 'clean, repaired, different or skipped.';
comment on column billing.reconciliations.repaired is 'Something was repaired.';
comment on column billing.reconciliations.repair is 'What was repaired; empty: nothing.';
comment on column billing.reconciliations.details is 'Each difference, as JSON.';
comment on column billing.reconciliations.checked_at is 'When it was last checked.';
comment on column billing.reconciliations.run_id is 'Run that checked it.';
