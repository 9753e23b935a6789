-- Purpose: results of the reconciliation checks
-- Grain:   hour and check
create or replace view billing.reconciliations as
select to_timestamp(r.hour * 3600.0) as hour, r.check_name, r.expected, r.actual, r.difference, r.status, r.repaired <> '' as repaired, r.repaired as repair,
       r.details, r.checked_at, r.run_id
from billing_core.reconciliations r;
comment on view billing.reconciliations is 'Latest results of the checks. Grain: one row per UTC hour and check. Source: reconciliation.';
comment on column billing.reconciliations.hour is 'Start of the hour, UTC.';
comment on column billing.reconciliations.check_name is 'Check: which two things were compared.';
comment on column billing.reconciliations.expected is 'What should be, as text.';
comment on column billing.reconciliations.actual is 'What is, as text.';
comment on column billing.reconciliations.difference is 'Measure and direction of the difference; empty when there is none.';
comment on column billing.reconciliations.status is 'clean, repaired, different or skipped.';
comment on column billing.reconciliations.repaired is 'True: something was repaired.';
comment on column billing.reconciliations.repair is 'What was repaired; empty: nothing.';
comment on column billing.reconciliations.details is 'Each difference, as JSON.';
comment on column billing.reconciliations.checked_at is 'When it was last checked, UTC.';
comment on column billing.reconciliations.run_id is 'Identifier of the run that checked it.';
