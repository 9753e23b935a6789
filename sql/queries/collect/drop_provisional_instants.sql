-- Purpose: as drop_provisional, for the snapshots of look-back. Grain: node and instant.
delete from billing_core.node_instants
where node_key = any (%(node_keys)s) and hour > %(hour)s and provisional
returning hour
