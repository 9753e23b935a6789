-- Purpose: look-back samples from an hour on that no collection needs any more: their node has a
-- closing of a collected hour before them (C4). Grain: series and hour. Parameters: node_keys[], hour. Gives their hours.
delete from billing_core.closings c
using billing_core.series s
where s.series_id = c.series_id and s.node_key = any (%(node_keys)s) and c.hour > %(hour)s and c.provisional
returning c.hour
