-- Purpose: what the object store answered when it confirmed an object; what the heartbeat of delivery is made of.
-- Grain:   batch; hour and event type; event type.

alter table billing_core.batches add column etag text, add column first_minute int;
comment on column billing_core.batches.etag is
    'ETag of the delivered object as the store answered, without quotes; null: not delivered, or delivered before it was kept.';
comment on column billing_core.batches.first_minute is
    'Minute of the oldest event; null: sealed before it was kept, or a manifest.';
-- It is gzip already: a second compression would be tried, and given up, for every object.
alter table billing_core.batches alter column payload set storage external;

-- Summed up as it is sealed: a year has millions of batches.
alter table billing_core.deliveries add column sealed_events bigint not null default 0;
comment on column billing_core.deliveries.sealed_events is 'Events of all sealings of the hour.';
update billing_core.deliveries as delivery
set sealed_events = sealed.events
from (
    select hour, meter_id, sum(events)::bigint as events from billing_core.batches group by hour, meter_id
) as sealed
where sealed.hour = delivery.hour and sealed.meter_id = delivery.meter_id;

create table billing_core.delivery_heartbeats (
    meter_id smallint primary key references billing_core.meters,
    is_exported boolean not null default false,
    seal_grace interval not null default '1 hour',
    alert_after interval not null default '2 hours',
    last_success timestamptz
);
comment on table billing_core.delivery_heartbeats is
    'Per event type the settings of the last export, by which the view billing.delivery_health judges, and when an object was confirmed last.';
insert into billing_core.delivery_heartbeats (meter_id, last_success)
select meter.meter_id, max(batch.delivered_at)
from billing_core.meters as meter
left join billing_core.batches as batch using (meter_id)
group by meter.meter_id;
