-- Purpose: dates a source's region (R2). Conflict key: (source_key, from_minute), replaced.
insert into billing_core.source_regions as r (source_key, from_minute, region)
select source_key, %(from_minute)s, %(region)s
from billing_core.sources where source_id = %(source_id)s
on conflict (source_key, from_minute) do update set region = excluded.region
