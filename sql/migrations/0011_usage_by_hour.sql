-- Purpose: lets account-hours answer what is asked by hour, day and month without their facts: bytes up, and the region
--          where all of the hour's facts are of one. An hour of several regions, or rated before this was kept, has region 0
--          and is summed from its facts, as one is that waits to be rated.
-- Grain:   region; account, meter and hour.

create table billing_core.regions (
    region_id smallint generated always as identity primary key,
    region text not null unique
);
comment on table billing_core.regions is 'Names of regions that something was rated in.';

alter table billing_core.account_hours
    add column uplink_quantity bigint not null default 0,
    add column region_id smallint not null default 0;
comment on column billing_core.account_hours.uplink_quantity is
    'What of the quantity went up. Not kept for hours rated before this was: those have region 0.';
comment on column billing_core.account_hours.region_id is
    'Region of all of the hour''s facts, as they were rated; 0: several, or not known.';

-- The very expression by which the view of days names a day: one day's account-hours lie together.
create index account_hours_day on billing_core.account_hours
    using brin (to_timestamp((hour / 24) * 86400.0)) with (pages_per_range = 16);
