-- Purpose: findings, newest first. Grain: finding.
select * from billing.findings order by finding_id desc
