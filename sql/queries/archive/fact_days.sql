-- Purpose:    days that have a partition of facts.
-- Grain:      day since 1970, oldest first.
-- Parameters: -
select (extract(epoch from to_date(right(child.relname, 8), 'YYYYMMDD')) / 86400)::int as day
from pg_inherits as tree
join pg_class as child on child.oid = tree.inhrelid
where tree.inhparent = 'billing_core.facts'::regclass and child.relname ~ '^facts_[0-9]{8}$'
order by day
