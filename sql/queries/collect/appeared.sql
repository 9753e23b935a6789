-- Purpose: did a node have a non-empty snapshot before an instant, other than the given ones (C7)?
-- Parameters: node_key, before_ns, except_ns[].
select exists (
    select from billing_core.node_instants
    where node_key = %(node_key)s and instant_ns < %(before_ns)s and samples > 0
      and instant_ns <> all (%(except_ns)s::bigint[]))
