-- Purpose: what a person should know
-- Grain:   finding
create or replace view billing.findings as
select f.finding_id, f.kind, s.source_id, to_timestamp(f.hour * 3600.0) as hour, f.subject, f.message, f.expected, f.actual,
       f.opened_at, f.closed_at, f.resolution, f.run_id
from billing_core.findings f
left join billing_core.sources s using (source_key);
comment on view billing.findings is 'Findings, open until closed_at.';
comment on column billing.findings.finding_id is 'Number of the finding.';
comment on column billing.findings.kind is 'What kind of finding.';
comment on column billing.findings.source_id is 'Source; null when it is not about one.';
comment on column billing.findings.hour is 'Hour, UTC; null when it is not about one.';
comment on column billing.findings.subject is 'What it is about, within source and hour.';
comment on column billing.findings.message is 'One line for people.';
comment on column billing.findings.expected is 'Expected value, where there is one.';
comment on column billing.findings.actual is 'Value found, where there is one.';
comment on column billing.findings.opened_at is 'When it was found.';
comment on column billing.findings.closed_at is 'When it was closed; null: open.';
comment on column billing.findings.resolution is 'How it was closed; withdrawn: the data no longer shows it.';
comment on column billing.findings.run_id is 'Run that found it.';
