-- Purpose: closes open alerts of some rules whose subjects are none of those that are still so. Grain: alert.
-- Parameters: rules text[], kept_rules text[], kept_subjects text[] (parallel), at timestamptz.
update billing_core.alerts set closed_at = %(at)s
where closed_at is null and rule = any (%(rules)s)
  and (rule, subject) not in (select * from unnest(%(kept_rules)s::text[], %(kept_subjects)s::text[]))
