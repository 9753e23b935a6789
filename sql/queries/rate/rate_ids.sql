-- Purpose: ids of known rates. Grain: rate, in given order. Parameters: as add_rates.
select r.rate_id
from unnest(%(price_version_ids)s::int[], %(prices)s::numeric[], %(regions)s::numeric[], %(lines)s::numeric[],
            %(times)s::numeric[]) with ordinality as w (price_version_id, price, region, line, time, position)
join billing_core.rates r
    on r.price_version_id = w.price_version_id and r.region_multiplier = w.region and r.line_multiplier = w.line
   and r.time_multiplier = w.time
order by w.position
