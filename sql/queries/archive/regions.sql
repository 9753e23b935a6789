-- Purpose:    dated regions of all sources (R2).
-- Grain:      source and minute from which a region applies.
-- Parameters: -
select source_key, from_minute, region
from billing_core.source_regions
order by source_key, from_minute
