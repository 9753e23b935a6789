-- Purpose: whether delivery keeps up with what is collected (delivery contract, "Heartbeat")
-- Grain:   event type
-- A function of the time, so that what is said of an hour can be asked for any other: the view is
-- about now. Facts are read only of hours that are due and were never sealed, and by the index of
-- those that changed since.
create or replace function billing_core.delivery_health(at timestamptz)
returns table (
    event_type text, state text, offered bigint, delivered bigint, failed_objects bigint, backlog bigint,
    pending_objects bigint, oldest_undelivered timestamptz, oldest_age_seconds bigint, waits_since timestamptz,
    last_success timestamptz, last_error text, alert_after_seconds bigint
)
language sql stable security definer set search_path = pg_catalog, pg_temp
-- Of tables that are new the planner knows nothing, and would compare each fact with each series.
set enable_nestloop = off
as $$
with watched as (
    select m.meter_id, m.meter, coalesce(h.is_exported, false) as is_exported,
           coalesce(h.seal_grace, interval '1 hour') as seal_grace,
           coalesce(h.alert_after, interval '2 hours') as alert_after, h.last_success
    from billing_core.meters m left join billing_core.delivery_heartbeats h using (meter_id)
),
unsealed as (
    select d.meter_id, d.hour, c.events, c.oldest_minute
    from watched w
    join billing_core.deliveries d using (meter_id)
    cross join lateral (
        select count(*) as events, min(f.minute) as oldest_minute
        from billing_core.facts f join billing_core.series s using (series_id)
        where f.minute >= d.hour * 60 and f.minute < (d.hour + 1) * 60 and s.meter_id = d.meter_id
    ) c
    where w.is_exported and d.sealings = 0 and to_timestamp((d.hour + 1) * 3600.0) <= at
),
changed as (
    select meter_id, hour, count(*) as events, min(minute) as oldest_minute
    from (
        select s.meter_id, d.hour, f.minute
        from billing_core.facts f
        join billing_core.series s using (series_id)
        join billing_core.deliveries d on d.hour = f.minute / 60 and d.meter_id = s.meter_id
        left join billing_core.sealed_facts sealed using (series_id, minute)
        where f.sealing > 1 and f.sealing > d.sealings and d.sealings > 0
          and (f.uplink_quantity, f.downlink_quantity)
              is distinct from (sealed.uplink_quantity, sealed.downlink_quantity)
        union all
        select s.meter_id, sealed.minute / 60, sealed.minute
        from billing_core.sealed_facts sealed join billing_core.series s using (series_id)
        where (sealed.uplink_quantity, sealed.downlink_quantity) <> (0, 0)
          and not exists (
              select from billing_core.facts f where f.series_id = sealed.series_id and f.minute = sealed.minute)
    ) changed_facts
    join watched using (meter_id)
    where is_exported
    group by meter_id, hour
),
due as (
    select u.meter_id, u.events, u.oldest_minute, greatest(to_timestamp((u.hour + 1) * 3600.0)
           + case when c.is_open then w.seal_grace else interval '0' end, c.collected_at) as waits_since
    from (select *, true as is_first from unsealed union all select *, false from changed) u
    join watched w using (meter_id)
    cross join lateral (
        select bool_or(o.enabled and u.is_first and coalesce(o.first_hour, u.hour) <= u.hour
                       and coalesce(h.state, 'partial') = 'partial') as is_open,
               max(h.changed_at) as collected_at
        from billing_core.sources o
        left join billing_core.source_hours h on h.source_key = o.source_key and h.hour = u.hour
    ) c
    where u.events > 0
      and not (c.is_open and to_timestamp((u.hour + 1) * 3600.0) + w.seal_grace > at)
),
waiting as (
    select meter_id, sum(unsealed) as unsealed, sum(undelivered) as undelivered, sum(objects) as objects,
           sum(failed) as failed, min(oldest_minute) as oldest_minute, min(waits_since) as waits_since
    from (
        select meter_id, events as unsealed, 0 as undelivered, 0 as objects, 0 as failed, oldest_minute, waits_since
        from due
        union all
        select meter_id, 0, coalesce(sum(events) filter (where kind = 'events'), 0), count(*),
               count(*) filter (where last_error is not null),
               min(coalesce(first_minute, hour * 60)) filter (where events > 0), min(sealed_at)
        from billing_core.batches where delivered_at is null group by meter_id
    ) waits
    group by meter_id
),
sealed as (
    select meter_id, sum(sealed_events) as events from billing_core.deliveries group by meter_id
),
last_export as (
    select error from billing_core.runs
    where command = 'export' and finished_at is not null order by run_id desc limit 1
)
select w.meter,
       case when not w.is_exported then 'off'
            when n.waits_since < at - w.alert_after and coalesce(w.last_success < at - w.alert_after, true) then 'stalled'
            when n.waits_since < at - w.alert_after or (n.waits_since is not null and e.error is not null) then 'behind'
            when n.waits_since is not null or w.last_success >= at - w.alert_after then 'flowing'
            else 'idle' end,
       (coalesce(sealed.events, 0) + coalesce(n.unsealed, 0))::bigint,
       (coalesce(sealed.events, 0) - coalesce(n.undelivered, 0))::bigint,
       coalesce(n.failed, 0)::bigint,
       (coalesce(n.unsealed, 0) + coalesce(n.undelivered, 0))::bigint,
       coalesce(n.objects, 0)::bigint,
       to_timestamp(n.oldest_minute * 60.0),
       extract(epoch from at - to_timestamp(n.oldest_minute * 60.0))::bigint,
       n.waits_since, w.last_success, e.error, extract(epoch from w.alert_after)::bigint
from watched w
left join waiting n using (meter_id)
left join sealed using (meter_id)
left join last_export e on true
$$;
create or replace view billing.delivery_health as
select h.event_type, h.state, h.offered, h.delivered, h.failed_objects, h.backlog, h.pending_objects,
       h.oldest_undelivered, h.oldest_age_seconds, h.waits_since, h.last_success, h.last_error, h.alert_after_seconds
from billing_core.delivery_health(now()) h;
comment on view billing.delivery_health is 'Whether delivery keeps up, computed for now. Grain: one row per event type. Source: facts, sealed batches, and the runs that export.';
comment on column billing.delivery_health.event_type is 'Meter of the events, such as traffic_bytes.';
comment on column billing.delivery_health.state is 'off: not exported; idle: nothing waits, nothing was delivered lately; flowing; behind: something waits for longer than alert_after_seconds, or the last export failed; stalled: so, and nothing was delivered for as long.';
comment on column billing.delivery_health.offered is 'Count of events sealed so far, and of those that wait for a sealing that is due.';
comment on column billing.delivery_health.delivered is 'Count of events that the object store confirmed.';
comment on column billing.delivery_health.failed_objects is 'Count of objects whose last attempt failed.';
comment on column billing.delivery_health.backlog is 'Count of events offered and not delivered.';
comment on column billing.delivery_health.pending_objects is 'Count of objects sealed and not delivered, manifests included.';
comment on column billing.delivery_health.oldest_undelivered is 'Start of the minute of the oldest event of the backlog, UTC; null: none.';
comment on column billing.delivery_health.oldest_age_seconds is 'Seconds since that minute began.';
comment on column billing.delivery_health.waits_since is 'Since when the backlog could have been delivered, UTC; null: nothing waits.';
comment on column billing.delivery_health.last_success is 'When an object was confirmed last, UTC; null: never.';
comment on column billing.delivery_health.last_error is 'Error of the last export; null: it succeeded.';
comment on column billing.delivery_health.alert_after_seconds is 'BILLING_DELIVERY_ALERT in seconds, as the last run that looked was told.';
