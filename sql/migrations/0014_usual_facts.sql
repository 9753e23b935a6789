-- Purpose: what nearly every fact has in common need not be sent with each: one minute long, and no reset.
-- Grain:   fact (series, minute).

alter table billing_core.facts
    alter column spans_minutes set default 1,
    alter column is_reset set default false;
