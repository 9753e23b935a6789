-- Purpose: the oldest notice that a connection is still to get; who asks holds the lock of that connection, so that two
-- senders neither send the same nor overtake each other. Grain: one notice. Parameters: connection text.
select n.notice_id::text, n.kind, a.rule, a.subject, a.what, a.remedy, a.value, a.threshold, a.since, a.opened_at, a.closed_at
from billing_core.alert_notices n
join billing_core.alerts a using (alert_id)
where n.sent_at is null and n.connection = %(connection)s
order by n.notice_no
limit 1
