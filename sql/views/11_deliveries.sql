-- Purpose: what of each hour was delivered
-- Grain:   hour and event type
create or replace view billing.deliveries as
select to_timestamp(d.hour * 3600.0) as hour, m.meter as event_type,
       coalesce(b.batches, 0)::int as batches, coalesce(b.events, 0)::bigint as events, coalesce(b.bytes, 0)::bigint as bytes,
       coalesce(b.pending, 0)::bigint + u.facts as pending, b.delivered_at,
       case when d.sealings = 0 then 'unsealed'
            when coalesce(b.undelivered, 0) > 0 or u.facts > 0 then 'pending'
            else 'delivered' end as state,
       d.sealings::int as sealings, d.sealed_at
from billing_core.deliveries d
join billing_core.meters m using (meter_id)
left join lateral (
    select count(*) filter (where kind = 'events') as batches, sum(events) filter (where kind = 'events') as events,
           sum(size_bytes) filter (where kind = 'events') as bytes,
           sum(events) filter (where kind = 'events' and delivered_at is null) as pending,
           count(*) filter (where delivered_at is null) as undelivered,
           max(delivered_at) as delivered_at
    from billing_core.batches where hour = d.hour and meter_id = d.meter_id
) b on true
cross join lateral (
    select count(*) as facts
    from billing_core.facts f join billing_core.series s using (series_id)
    where s.meter_id = d.meter_id and f.minute >= d.hour * 60 and f.minute < (d.hour + 1) * 60 and f.sealing > d.sealings
) u;
comment on view billing.deliveries is 'What of each hour was delivered. Grain: one row per UTC hour and event type. Source: sealing and sending of the export.';
comment on column billing.deliveries.hour is 'Start of the hour, UTC.';
comment on column billing.deliveries.event_type is 'Meter of the events, such as traffic_bytes.';
comment on column billing.deliveries.batches is 'Count of objects of events sealed.';
comment on column billing.deliveries.events is 'Count of events sealed.';
comment on column billing.deliveries.bytes is 'Size of the sealed objects of events in bytes; not usage.';
comment on column billing.deliveries.pending is 'Count of events sealed and not delivered, and of facts not sealed yet.';
comment on column billing.deliveries.delivered_at is 'When an object was last delivered, UTC; null: none.';
comment on column billing.deliveries.state is 'unsealed, pending or delivered.';
comment on column billing.deliveries.sealings is 'Count of sealings of the hour: 1, and one more for each correction.';
comment on column billing.deliveries.sealed_at is 'When it was sealed last, UTC.';
