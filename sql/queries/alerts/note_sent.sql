-- Purpose: notes an attempt to send a notice. Grain: notice. Parameters: notice_id, error (null: it was taken).
update billing_core.alert_notices
set attempts = attempts + 1, last_error = %(error)s, sent_at = case when %(error)s::text is null then clock_timestamp() end
where notice_id = %(notice_id)s::uuid
