-- Purpose: what a person should know
-- Grain:   finding
create or replace view billing.findings as
select f.finding_id, f.kind, s.source_id, to_timestamp(f.hour * 3600.0) as hour, f.subject, f.message, f.expected, f.actual,
       f.opened_at, f.closed_at, f.resolution, f.run_id,
       f.check_name, f.measure, f.expected_value, f.actual_value, f.difference, f.opened_at as since, f.repair,
       f.repaired_run_id as repaired_by_run, f.needs_deep
from billing_core.findings f
left join billing_core.sources s using (source_key);
comment on view billing.findings is 'What a person should know; open until closed_at. Grain: one row per finding; of reconciliation, one per difference. Source: collecting, export and reconciliation.';
comment on column billing.findings.finding_id is 'Identifier of the finding.';
comment on column billing.findings.kind is 'What kind of finding, such as rate_exceeded or reconciliation.';
comment on column billing.findings.source_id is 'Source; null when it is not about one.';
comment on column billing.findings.hour is 'Start of the hour, UTC; null when it is not about one.';
comment on column billing.findings.subject is 'What it is about, within source and hour.';
comment on column billing.findings.message is 'One line for people.';
comment on column billing.findings.expected is 'Expected value, where it is a number; in bytes, or the count of what the message says.';
comment on column billing.findings.actual is 'Value found, where it is a number; in bytes, or the count of what the message says.';
comment on column billing.findings.opened_at is 'When it was found, UTC.';
comment on column billing.findings.closed_at is 'When it was closed, UTC; null: open.';
comment on column billing.findings.resolution is 'How it was closed; withdrawn: the data no longer shows it.';
comment on column billing.findings.run_id is 'Identifier of the run that found it.';
comment on column billing.findings.check_name is 'Check of reconciliation that found it; null: not of reconciliation.';
comment on column billing.findings.measure is 'In which respect it differs.';
comment on column billing.findings.expected_value is 'Expected value as text, numbers too; null: nothing was expected.';
comment on column billing.findings.actual_value is 'Value found as text, numbers too; null: nothing was there.';
comment on column billing.findings.difference is 'Actual minus expected with its direction; of what is no number, that it is missing, not expected, or other.';
comment on column billing.findings.since is 'When it was first seen, UTC; seen ever since, while it is open.';
comment on column billing.findings.repair is 'How it was repaired; while it is open, what a repair would do, or why it failed.';
comment on column billing.findings.repaired_by_run is 'Identifier of the run that repaired it; null: not repaired.';
comment on column billing.findings.needs_deep is 'True: only reading the bodies shows it, so only reconcile --deep closes it.';
