-- Purpose: makes rates that are not known yet. Conflict key: what a rate consists of.
-- Parameters: price_version_ids[], prices[], regions[], lines[], times[] (parallel).
insert into billing_core.rates (price_version_id, price_per_unit, region_multiplier, line_multiplier, time_multiplier)
select w.price_version_id, w.price, w.region, w.line, w.time
from unnest(%(price_version_ids)s::int[], %(prices)s::numeric[], %(regions)s::numeric[], %(lines)s::numeric[],
            %(times)s::numeric[]) as w (price_version_id, price, region, line, time)
on conflict (price_version_id, region_multiplier, line_multiplier, time_multiplier) do nothing
