-- Purpose: how far each source is, as account services read it
-- Grain:   source
create or replace view account_read_model.billing_source_sync_state as
select s.source_id, to_timestamp(s.checkpoint_hour * 3600.0) as last_completed_until, s.last_attempted_at, s.last_succeeded_at,
       coalesce(s.last_error, '') as last_error, greatest(s.last_attempted_at, s.last_succeeded_at) as updated_at
from billing_core.sources s;
comment on view account_read_model.billing_source_sync_state is 'How far each source is. Grain: one row per source. Source: billing.source_status.';
comment on column account_read_model.billing_source_sync_state.source_id is 'Source, as the settings name it.';
comment on column account_read_model.billing_source_sync_state.last_completed_until is 'End of its contiguous complete or lost hours, UTC (C12); null: nothing was collected yet.';
comment on column account_read_model.billing_source_sync_state.last_attempted_at is 'When it was last collected, with or without success, UTC.';
comment on column account_read_model.billing_source_sync_state.last_succeeded_at is 'When an hour of it was last collected, UTC.';
comment on column account_read_model.billing_source_sync_state.last_error is 'Error of the last attempt; empty after a success.';
comment on column account_read_model.billing_source_sync_state.updated_at is 'When it was last collected, UTC; null: never.';
