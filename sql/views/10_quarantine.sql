-- Purpose: samples that could not be used
-- Grain:   quarantined sample
create or replace view billing.quarantine as
select billing_core.instant(q.instant_ns) as collected_at, to_timestamp(q.hour * 3600.0) as hour, o.source_id, n.env, n.node_id,
       q.account_uuid, q.inbound_tag, q.reason, q.raw_text, q.ordinal
from billing_core.quarantine q
join billing_core.sources o using (source_key)
join billing_core.nodes n using (node_key);
comment on view billing.quarantine is 'Bad samples, kept with their reason (C11). Grain: one row per sample put aside. Source: the exporter, as it served them.';
comment on column billing.quarantine.collected_at is 'Instant of the snapshot, UTC, to the microsecond.';
comment on column billing.quarantine.hour is 'Start of the hour of the snapshot, UTC.';
comment on column billing.quarantine.source_id is 'Source, as the settings name it.';
comment on column billing.quarantine.env is 'Environment, as the snapshot names it.';
comment on column billing.quarantine.node_id is 'Node, as the snapshot names it.';
comment on column billing.quarantine.account_uuid is 'Account as text, when it could be read.';
comment on column billing.quarantine.inbound_tag is 'Inbound, when it could be read.';
comment on column billing.quarantine.reason is 'Why it could not be used (C11).';
comment on column billing.quarantine.raw_text is 'The sample as it was served, without its email.';
comment on column billing.quarantine.ordinal is 'Identifier of the sample within its source-hour.';
