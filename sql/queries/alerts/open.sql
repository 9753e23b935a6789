-- Purpose: alerts that are open, as they were seen last. Grain: alert.
select rule, subject, what, remedy, since, value, threshold, opened_at
from billing_core.alerts where closed_at is null order by rule, subject
