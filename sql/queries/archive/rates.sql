-- Purpose:    what facts were rated with.
-- Grain:      rate.
-- Parameters: rate_ids bigint[]
select rate.rate_id, version.price_version, rate.price_per_unit, rate.multiplier, rate.amount_per_unit
from billing_core.rates as rate
join billing_core.price_versions as version using (price_version_id)
where rate.rate_id = any(%(rate_ids)s)
