-- Purpose: open findings by kind. Grain: kind.
select kind, count(*) as count, min(opened_at) as oldest
from billing.findings where closed_at is null group by kind order by kind
