-- Purpose:    what open findings of a kind are about.
-- Grain:      one row per finding.
-- Parameters: kind text
select subject from billing_core.findings where kind = %(kind)s and closed_at is null
