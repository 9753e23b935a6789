-- Purpose: publishes a price version (R2). Conflict: a second version of that name, or of that scope and date, is refused.
insert into billing_core.price_versions (
    price_version, meter_id, scope, scope_key, from_minute, price_per_unit, included_quota, region_multipliers,
    line_multipliers, peak_multiplier, offpeak_multiplier, peak_time_zone, peak_hours, run_id)
values (%(price_version)s, %(meter_id)s, %(scope)s, %(scope_key)s, %(from_minute)s, %(price_per_unit)s,
        %(included_quota)s, %(region_multipliers)s, %(line_multipliers)s, %(peak_multiplier)s,
        %(offpeak_multiplier)s, %(peak_time_zone)s, %(peak_hours)s, %(run_id)s)
