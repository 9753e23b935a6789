-- Purpose: alerts and whether somebody was told
-- Grain:   alert
create or replace view billing.alerts as
select a.alert_id, a.rule, a.subject, a.what, a.remedy, a.value, a.threshold, a.since, a.opened_at, a.closed_at,
       coalesce(n.sent, 0) as sent, coalesce(n.unsent, 0) as unsent, n.last_sent_at, n.last_error
from billing_core.alerts a
left join lateral (
    select count(sent_at) as sent, count(*) - count(sent_at) as unsent, max(sent_at) as last_sent_at,
           (array_agg(last_error order by notice_no desc) filter (where sent_at is null))[1] as last_error
    from billing_core.alert_notices where alert_id = a.alert_id
) n on true;
comment on view billing.alerts is 'Broken objectives and failed runs, open and over (docs/alerts.md). Grain: one row per alert. Source: the runs that watch.';
comment on column billing.alerts.alert_id is 'Identifier of the alert.';
comment on column billing.alerts.rule is 'A rule of billing.objectives, dag_failed or deadline_missed.';
comment on column billing.alerts.subject is 'Source, event type, kind of finding or DAG.';
comment on column billing.alerts.what is 'What is wrong, with its numbers, as seen last.';
comment on column billing.alerts.remedy is 'What to do.';
comment on column billing.alerts.value is 'Value seen last, in seconds, as a count or as a share, as the rule has it; null: the rule has none.';
comment on column billing.alerts.threshold is 'The most that was fine, in seconds, as a count or as a share, as the rule has it; null: the rule has none.';
comment on column billing.alerts.since is 'Since when it was so, UTC.';
comment on column billing.alerts.opened_at is 'When a run saw it first, UTC.';
comment on column billing.alerts.closed_at is 'When a run saw that it is over, UTC; null: it is not.';
comment on column billing.alerts.sent is 'Count of notices that a connection took.';
comment on column billing.alerts.unsent is 'Count of notices that are still to be sent.';
comment on column billing.alerts.last_sent_at is 'When a notice was taken last, UTC; null: never.';
comment on column billing.alerts.last_error is 'Why the newest unsent notice could not be sent; null: no attempt failed.';
