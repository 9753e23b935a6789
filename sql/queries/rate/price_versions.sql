-- Purpose: the price book of a meter (R2). Grain: price version.
select price_version_id, price_version, scope, scope_key, from_minute, price_per_unit, included_quota,
       region_multipliers, line_multipliers, peak_multiplier, offpeak_multiplier, peak_time_zone, peak_hours
from billing_core.price_versions
where meter_id = %(meter_id)s
order by scope, scope_key, from_minute
