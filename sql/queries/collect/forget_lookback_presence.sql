-- Purpose: an hour that is collected itself has its own quarantine. Grain: sample. Parameters: source_key, hour.
delete from billing_core.lookback_presence p
using billing_core.nodes n
where n.node_key = p.node_key and n.source_key = %(source_key)s and p.hour = %(hour)s
