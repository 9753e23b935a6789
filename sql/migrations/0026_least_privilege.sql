-- Purpose: what runs the pipeline need not own its tables: making the partitions of a day, and showing a published
--          version as a profile, are done with the rights of the owner. What is immutable cannot be emptied either.
-- Grain:   -

alter function billing_core.ensure_day_partition(int) security definer set search_path = pg_catalog, pg_temp;

create trigger price_versions_no_truncate before truncate on billing_core.price_versions
    for each statement execute function billing_core.refuse_change();
create trigger rates_no_truncate before truncate on billing_core.rates
    for each statement execute function billing_core.refuse_change();
create trigger closed_periods_append_only before update or delete on billing_core.closed_periods
    for each row execute function billing_core.refuse_change();
create trigger closed_periods_no_truncate before truncate on billing_core.closed_periods
    for each statement execute function billing_core.refuse_change();
