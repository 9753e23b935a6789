-- Purpose: how far each source is, and the state of each of its hours as one letter: c complete, p partial, l lost,
--          f its last collection failed, d due and never collected, w not yet due, . nothing is expected.
-- Grain:   source, most hours that need someone first. total: all sources, also those beyond the limit.
-- Parameters: from_hour, to_hour (exclusive), due_before (hours before it should have been collected), limit.
with states as (
    select s.source_key, g.hour,
           case when f.hour is not null then 'f'
                when h.state is not null then left(h.state, 1)
                when not s.enabled or g.hour < coalesce(s.first_hour, g.hour) then '.'
                when g.hour < %(due_before)s then 'd'
                else 'w' end as letter
    from billing_core.sources s
    cross join generate_series(%(from_hour)s, %(to_hour)s - 1) as g (hour)
    left join billing_core.source_hours h on h.source_key = s.source_key and h.hour = g.hour
    left join billing_core.failed_source_hours f on f.source_key = s.source_key and f.hour = g.hour
), rows as (
    select source_key, string_agg(letter, '' order by hour) as states,
           count(*) filter (where letter = 'f') as failed, count(*) filter (where letter in ('d', 'p')) as open,
           count(*) filter (where letter = 'l') as lost
    from states
    group by source_key
)
select s.source_id, s.enabled, to_timestamp(s.checkpoint_hour * 3600.0) as checkpoint,
       extract(epoch from now() - to_timestamp(s.checkpoint_hour * 3600.0))::bigint as lag_seconds,
       s.last_attempted_at, s.last_succeeded_at, left(s.last_error, 1000) as last_error, r.states,
       count(*) over () as total
from rows r
join billing_core.sources s using (source_key)
order by r.failed desc, r.open desc, r.lost desc, s.source_id
limit %(limit)s
