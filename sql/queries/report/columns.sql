-- Purpose: what the database itself says of everything that analysts read: each column with its comment.
-- Grain:   column. Parameters: schemas[].
select n.nspname as schema_name, c.relname as relation, c.relkind = 'v' as is_view, coalesce(obj_description(c.oid, 'pg_class'), '') as relation_comment,
       a.attname as column_name, format_type(a.atttypid, a.atttypmod) as type,
       coalesce(col_description(c.oid, a.attnum), '') as column_comment
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where n.nspname = any(%(schemas)s) and c.relkind in ('r', 'p', 'v', 'm')
order by array_position(%(schemas)s, n.nspname::text), c.relname, a.attnum
