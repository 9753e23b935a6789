-- Purpose: what a role should read and cannot, for want of its own right or that of the schema.
-- Grain:   view or table. Parameters: role, schemas[].
select c.oid::regclass::text
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = any(%(schemas)s) and c.relkind in ('r', 'p', 'v', 'm')
  and not (has_schema_privilege(%(role)s, n.oid, 'usage') and has_table_privilege(%(role)s, c.oid, 'select'))
order by 1
