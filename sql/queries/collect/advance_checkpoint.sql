-- Purpose: sets the checkpoint to the end of the contiguous complete-or-lost hours from the first
-- collected one (C12), and notes the success. Grain: source.
update billing_core.sources s
set first_hour = h.first_hour, checkpoint_hour = h.checkpoint_hour,
    last_attempted_at = clock_timestamp(), last_succeeded_at = clock_timestamp(), last_error = null
from (
    select min(c.hour) as first_hour,
           min(c.hour + settled::int) filter (where not settled or not next_settled) as checkpoint_hour
    from (
        select hour, state <> 'partial' as settled,
               coalesce(lead(hour) over (order by hour) = hour + 1
                        and lead(state) over (order by hour) <> 'partial', false) as next_settled
        from billing_core.source_hours
        where source_key = %(source_key)s
    ) c
) h
where s.source_key = %(source_key)s
