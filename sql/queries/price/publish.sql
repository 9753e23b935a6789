-- Purpose: publishes a price version (R2) and gives its quota. A default without one goes on with that of the default before
-- it, as no wider scope decides (R3). Conflict: a second version of that name, or of that scope and date, is refused.
insert into billing_core.price_versions (
    price_version, meter_id, scope, scope_key, from_minute, price_per_unit, included_quota, region_multipliers,
    line_multipliers, peak_multiplier, offpeak_multiplier, peak_time_zone, peak_hours, run_id)
values (%(price_version)s, %(meter_id)s, %(scope)s, %(scope_key)s, %(from_minute)s, %(price_per_unit)s,
        coalesce(%(included_quota)s::bigint, (
            select before.included_quota
            from billing_core.price_versions as before
            where %(scope)s::text = 'default' and before.scope = 'default' and before.meter_id = %(meter_id)s
                and before.from_minute < %(from_minute)s
            order by before.from_minute desc
            limit 1)),
        %(region_multipliers)s, %(line_multipliers)s, %(peak_multiplier)s,
        %(offpeak_multiplier)s, %(peak_time_zone)s, %(peak_hours)s, %(run_id)s)
returning included_quota
