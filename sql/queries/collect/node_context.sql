-- Purpose: what is known of a source's nodes before and after an hour (C4, C7, C9, C12). Grain: node.
-- Parameters: source_key, hour, from_hour, start_ns, end_ns. Zero stands for none. Of closings only those from from_hour
-- on are looked at: few partitions are planned for.
select n.node_key, n.env, n.node_id,
       exists (
           select from billing_core.series s
           where s.node_key = n.node_key and exists (
               select from billing_core.closings c
               where c.series_id = s.series_id and c.hour < %(hour)s and c.hour >= %(from_hour)s and not c.provisional)
       ) as has_closing,
       coalesce((select i.instant_ns from billing_core.node_instants i
                 where i.node_key = n.node_key and i.instant_ns < %(start_ns)s and i.samples > 0
                 order by i.instant_ns limit 1), 0) as first_nonempty_ns,
       coalesce((select i.instant_ns from billing_core.node_instants i
                 where i.node_key = n.node_key and i.instant_ns < %(start_ns)s
                 order by i.instant_ns desc limit 1), 0) as prev_ns,
       exists (select from billing_core.node_instants i
               where i.node_key = n.node_key and i.instant_ns >= %(end_ns)s) as seen_later,
       coalesce((select i.samples from billing_core.node_instants i
                 where i.node_key = n.node_key and i.instant_ns < %(start_ns)s
                 order by i.instant_ns desc limit 1), 0) as prev_samples
from billing_core.nodes n
where n.source_key = %(source_key)s
order by n.node_key
