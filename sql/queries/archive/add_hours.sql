-- Purpose: keeps what the statement of archived hours is made of. Grain: hour.
-- Parameters: hours int[], numbers jsonb[], inputs jsonb[], amounts jsonb[] (parallel)
insert into billing_core.archived_hours (hour, numbers, inputs, amounts)
select *
from unnest(%(hours)s::int[], %(numbers)s::jsonb[], %(inputs)s::jsonb[], %(amounts)s::jsonb[])
