-- Purpose:    enabled sources whose hour may still bring facts (delivery contract, "When").
-- Grain:      one row per source; a source that began after the hour has no part in it (C12).
-- Parameters: source_ids text[], hour int
select source_id
from unnest(%(source_ids)s::text[]) as enabled (source_id)
left join billing_core.sources as source using (source_id)
left join billing_core.source_hours as source_hour
    on source_hour.source_key = source.source_key and source_hour.hour = %(hour)s
where coalesce(source_hour.state, 'partial') = 'partial'
    and coalesce(source.first_hour, %(hour)s) <= %(hour)s
order by source_id collate "C"
