-- Purpose: signed reconciliation statements
-- Grain:   signed statement
create or replace view billing.statements as
select s.statement_id, s.span, s.label, to_timestamp(s.start_hour * 3600.0) as start_hour,
       to_timestamp(s.end_hour * 3600.0) as end_hour, encode(s.root, 'hex') as root, s.is_balanced, s.is_final, s.despite,
       s.supersedes, n.statement_id as superseded_by, s.document, s.inputs, s.signed_at, s.run_id
from billing_core.statements s
left join billing_core.statements n on n.supersedes = s.statement_id;
comment on view billing.statements is 'Signed reconciliation statements; rows are never changed or deleted. Grain: one row per signed statement of a day or billing period. Source: `billing-etl statement --sign`.';
comment on column billing.statements.statement_id is 'Identifier of the statement, in the order of signing.';
comment on column billing.statements.span is 'day (UTC) or month (billing period).';
comment on column billing.statements.label is 'The day, or the month in which the billing period starts.';
comment on column billing.statements.start_hour is 'Start of the first hour, UTC.';
comment on column billing.statements.end_hour is 'End of the last hour, itself left out, UTC.';
comment on column billing.statements.root is 'SHA-256 over all inputs, hexadecimal (docs/statement.md).';
comment on column billing.statements.is_balanced is 'True: every link of the chain of totals had no difference.';
comment on column billing.statements.is_final is 'True: nothing was open, unrated, pending or unchecked.';
comment on column billing.statements.despite is 'Why it was signed although it was not balanced, or not final; null: it was both.';
comment on column billing.statements.supersedes is 'Identifier of the statement of the same span that this one replaces; null: the first.';
comment on column billing.statements.superseded_by is 'Identifier of the statement that replaces this one; null: the latest.';
comment on column billing.statements.document is 'Everything that the statement says, as JSON.';
comment on column billing.statements.inputs is 'Rows and SHA-256 of each input table, per hour, as JSON.';
comment on column billing.statements.signed_at is 'When it was signed, UTC.';
comment on column billing.statements.run_id is 'Identifier of the run that signed it.';
