-- Purpose: stored quarantine of a source-hour. Grain: quarantined sample, in served order.
select ordinal, node_key, instant_ns, account_uuid, inbound_tag, reason, raw_text
from billing_core.quarantine
where source_key = %(source_key)s and hour = %(hour)s
order by ordinal
