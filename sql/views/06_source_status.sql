-- Purpose: how far each source is
-- Grain:   source
create or replace view billing.source_status as
select s.source_id, s.enabled, to_timestamp(s.checkpoint_hour * 3600.0) as checkpoint,
       extract(epoch from now() - to_timestamp(s.checkpoint_hour * 3600.0))::bigint as lag_seconds,
       s.last_attempted_at, s.last_succeeded_at, s.last_error
from billing_core.sources s;
comment on view billing.source_status is 'How far each source is. Grain: one row per source. Source: the runs that collect.';
comment on column billing.source_status.source_id is 'Source, as the settings name it.';
comment on column billing.source_status.enabled is 'True: the settings say that it is collected.';
comment on column billing.source_status.checkpoint is 'End of its contiguous complete or lost hours, UTC (C12); null: nothing was collected yet.';
comment on column billing.source_status.lag_seconds is 'Seconds from the checkpoint to now; null without a checkpoint.';
comment on column billing.source_status.last_attempted_at is 'When it was last collected, with or without success, UTC.';
comment on column billing.source_status.last_succeeded_at is 'When an hour of it was last collected, UTC.';
comment on column billing.source_status.last_error is 'Error of the last attempt; null after a success.';
