-- Purpose: as drop_provisional, for the presence that look-back saw. Grain: sample.
delete from billing_core.lookback_presence
where node_key = any (%(node_keys)s) and hour > %(hour)s
returning hour
