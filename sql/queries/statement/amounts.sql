-- Purpose:    what the rated facts of an hour come to under each price version (R2).
-- Grain:      price version.
-- Parameters: hour int, meter_id int
select
    version.price_version,
    sum(rated.included)::numeric as included_quantity,
    sum(rated.rated)::numeric as rated_quantity,
    trim_scale(sum(rated.rated * rate.amount_per_unit)) as amount
from (
    select
        fact.rate_id, sum(fact.included_quantity) as included,
        sum(fact.uplink_quantity + fact.downlink_quantity - fact.included_quantity) as rated
    from billing_core.facts as fact
    join billing_core.series using (series_id)
    where fact.minute >= %(hour)s::int * 60 and fact.minute < (%(hour)s::int + 1) * 60
        and series.meter_id = %(meter_id)s
    group by fact.rate_id
) as rated
join billing_core.rates as rate using (rate_id)
join billing_core.price_versions as version using (price_version_id)
group by version.price_version
order by version.price_version collate "C"
