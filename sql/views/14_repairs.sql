-- Purpose: every repair of reconciliation and how it ended
-- Grain:   repair
create or replace view billing.repairs as
select r.repair_id, to_timestamp(r.hour * 3600.0) as hour, r.check_name, r.subject, r.wrong, r.action,
       coalesce(o.outcome, 'begun') as outcome, o.detail, r.run_id, r.begun_at, o.ended_at
from billing_core.repairs r
left join billing_core.repair_outcomes o using (repair_id);
comment on view billing.repairs is 'Repairs of reconciliation; nothing is repaired without a row here. Grain: one row per repair. Source: reconciliation, which writes it before it begins.';
comment on column billing.repairs.repair_id is 'Identifier of the repair.';
comment on column billing.repairs.hour is 'Start of the hour, UTC.';
comment on column billing.repairs.check_name is 'Check that found what was wrong.';
comment on column billing.repairs.subject is 'What was repaired.';
comment on column billing.repairs.wrong is 'What was wrong: every difference that the repair was to cure.';
comment on column billing.repairs.action is 'What was done.';
comment on column billing.repairs.outcome is 'repaired: checked again, and it is gone; failed: it is still there; begun: its run ended before it.';
comment on column billing.repairs.detail is 'What came of it; null: not known.';
comment on column billing.repairs.run_id is 'Identifier of the run that repaired.';
comment on column billing.repairs.begun_at is 'When it was begun, UTC; the row was written before.';
comment on column billing.repairs.ended_at is 'When it had ended, UTC; null: not known.';
