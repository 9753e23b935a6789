-- Purpose: objects that may name an account, as they were sealed in hours in which it has events. Grain: one row.
-- Parameters: hours[].
select
    count(*) filter (where kind <> 'manifest'),
    count(*) filter (where kind <> 'manifest' and payload is not null),
    count(*) filter (where kind <> 'manifest' and delivered_at is null)
from billing_core.batches
where hour = any (%(hours)s::int[])
