-- Purpose: what a role should be allowed and is not, for want of its own right or that of the schema. Partitions are
-- reached through their table, whose rights count.
-- Grain:   relation and privilege. Parameters: role, schemas[] (read as a whole), relations[], privileges[] (parallel).
with relation as (
    select c.oid, n.oid as schema_oid, n.nspname as schema_name, c.relname as name
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = any(%(schemas)s) and c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
),
wanted as (
    select r.*, 'select' as privilege from relation r
    union all
    select r.*, w.privilege
    from unnest(%(relations)s::text[], %(privileges)s::text[]) as w (relation, privilege)
    join relation r on r.schema_name || '.' || r.name = w.relation
)
select schema_name, name, privilege
from wanted
where not (has_schema_privilege(%(role)s, schema_oid, 'usage') and has_table_privilege(%(role)s, oid, privilege))
order by 3, 1, 2
