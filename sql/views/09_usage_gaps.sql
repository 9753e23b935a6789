-- Purpose: stretches without snapshots or samples
-- Grain:   node or series, and end of the gap
create or replace view billing.usage_gaps as
select billing_core.instant(g.from_ns) as gap_start, billing_core.instant(g.until_ns) as gap_end,
       to_timestamp(g.hour * 3600.0) as hour, o.source_id, n.env, n.node_id, a.account_uuid, s.inbound_tag,
       case when g.series_id = 0 then 'exporter_down' else 'series_absent' end as gap_kind,
       g.quantity as total_bytes
from billing_core.usage_gaps g
join billing_core.nodes n using (node_key)
join billing_core.sources o using (source_key)
left join billing_core.series s on s.series_id = g.series_id
left join billing_core.accounts a using (account_key);
comment on view billing.usage_gaps is 'Gaps of more than 2.5 intervals (C9); their bytes stay on the minute in which they arrived. Grain: one row per node or series and end of the gap. Source: collecting.';
comment on column billing.usage_gaps.gap_start is 'Last sample before the gap, UTC, to the microsecond.';
comment on column billing.usage_gaps.gap_end is 'First sample after it, UTC, to the microsecond.';
comment on column billing.usage_gaps.hour is 'Start of the hour in which the gap ended, UTC.';
comment on column billing.usage_gaps.source_id is 'Source, as the settings name it.';
comment on column billing.usage_gaps.env is 'Environment, as the snapshot names it (C2).';
comment on column billing.usage_gaps.node_id is 'Node, as the snapshot names it (C2).';
comment on column billing.usage_gaps.account_uuid is 'Account; null when the node had no snapshot.';
comment on column billing.usage_gaps.inbound_tag is 'Inbound; null when the node had no snapshot.';
comment on column billing.usage_gaps.gap_kind is 'exporter_down: the node had no snapshot; series_absent: the series was missing from its snapshots.';
comment on column billing.usage_gaps.total_bytes is 'Bytes that arrived with the sample after the gap.';
