-- Purpose: event types that were found not to be delivered while events wait.
-- Grain:   one row per event type with an open finding.
select subject from billing_core.findings where kind = 'delivery_stalled' and closed_at is null
