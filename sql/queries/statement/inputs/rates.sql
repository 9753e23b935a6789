-- Purpose: rates that the facts of an hour were rated with, and their price versions, as the digest of a statement
--          takes them in.
-- Grain:   rate. {hour}: hours since 1970.
copy (
    select
        rate.rate_id, version.price_version, version.meter_id, version.scope, version.scope_key,
        version.from_minute, version.price_per_unit, version.included_quota, version.region_multipliers,
        version.line_multipliers, version.peak_multiplier, version.offpeak_multiplier,
        version.peak_time_zone, version.peak_hours, rate.price_per_unit, rate.region_multiplier,
        rate.line_multiplier, rate.time_multiplier
    from (
        select distinct rate_id
        from billing_core.facts
        where minute >= {hour} * 60 and minute < ({hour} + 1) * 60
    ) as used
    join billing_core.rates as rate using (rate_id)
    join billing_core.price_versions as version using (price_version_id)
    order by rate.rate_id
) to stdout
