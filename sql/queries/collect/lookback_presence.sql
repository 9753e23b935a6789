-- Purpose: what look-back saw in quarantine of some nodes within an hour (C7). Grain: sample.
-- Parameters: node_keys[], hour.
select node_key, instant_ns, account_uuid, inbound_tag
from billing_core.lookback_presence
where hour = %(hour)s and node_key = any (%(node_keys)s)
