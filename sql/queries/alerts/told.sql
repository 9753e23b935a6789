-- Purpose: alerts that are open, or whose end is still to be told, with the newest notice to each connection.
-- Grain: alert and connection that was told something; one row without a connection where none was.
select a.alert_id, a.closed_at is null, n.connection, n.kind, n.made_at, n.sent_at is not null
from billing_core.alerts a
left join lateral (
    select distinct on (connection) connection, kind, made_at, sent_at
    from billing_core.alert_notices where alert_id = a.alert_id
    order by connection, notice_no desc
) n on true
where a.closed_at is null or n.kind <> 'resolved'
order by a.alert_id, n.connection
