-- Purpose: what is measured for each objective. Grain: rule and subject. Parameters: at timestamptz.
select rule, subject, value, since, per_second from billing_core.objective_values(%(at)s) order by rule, subject
