-- Purpose:    rates, with what the price version that they name says now.
-- Grain:      one row per rate.
-- Parameters: rate_ids int[]
select rate_id, price_version_id, price_per_unit, region_multiplier, line_multiplier, time_multiplier
from billing_core.rates
where rate_id = any(%(rate_ids)s)
