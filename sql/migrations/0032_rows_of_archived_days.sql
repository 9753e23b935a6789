-- Purpose: what else goes of days whose facts are archived: closings, snapshots, bad samples that no later hour can ask
--          for; and alerts that are over. Statements know these days by what was kept of them.
-- Grain:   closing; snapshot; bad sample; alert.

-- The end of the hours whose facts are gone for good: none of them is collected again.
create function billing_core.dropped_end() returns int language sql stable
security definer set search_path = pg_catalog, pg_temp as $$
    select coalesce(min(day) filter (where dropped_at is null), max(day) + 1, 0) * 24 from billing_core.archives
$$;

-- The end of the hours of which later ones ask only for what stood last. Those within 72 hours before the first hour that
-- can be collected stay whole: as far reach look-back (C4) and the nodes that an hour expects (C12).
create function billing_core.past_end(before timestamptz) returns int language sql stable
security definer set search_path = pg_catalog, pg_temp as $$
    select least(billing_core.dropped_end() - 72, floor(extract(epoch from before) / 3600)::int)
$$;

-- Closings of days whose partition went that are still the newest of their series, however old (C4). As each day goes,
-- those of them that stay move here, and the partition reaches up to its end.
create table billing_core.closings_kept partition of billing_core.closings for values from (minvalue) to (0);
comment on table billing_core.closings_kept is
    'Closings of days that are gone by which later hours are counted: the newest of each series that was not seen since (C4).';

create function billing_core.closings_kept_end() returns int language sql stable
security definer set search_path = pg_catalog, pg_temp as $$
    select substring(pg_get_expr(relpartbound, oid) from 'TO \(''?([0-9]+)')::int
    from pg_class where oid = 'billing_core.closings_kept'::regclass
$$;

-- A closing is superseded by a newer one of its series in hours that do not change any more. What only look-back saw
-- supersedes none. Asked row by row: the next closing is mostly an hour away, whatever the length of the history.
create function billing_core.due_closings(before timestamptz, most bigint) returns table (series_id int, hour int)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select c.series_id, c.hour
    from billing_core.closings as c
    where c.hour < (select billing_core.past_end(before) / 24 * 24)
        and (
            select true from billing_core.closings as newer
            where newer.series_id = c.series_id and newer.hour > c.hour and newer.hour < (select billing_core.dropped_end())
                and not newer.provisional
            order by newer.hour limit 1
        )
    limit most
$$;

-- Of each node stay: its first snapshot with samples (C7), its newest (C9), and, where a series could not be used in the
-- first, the first in which it was not bad: that tells a birth from presence (C7).
create function billing_core.kept_snapshots() returns table (node_key int, instant_ns bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    with first as (
        select n.source_key, n.node_key, f.instant_ns, f.hour
        from billing_core.nodes as n
        cross join lateral (
            select i.instant_ns, i.hour from billing_core.node_instants as i
            where i.node_key = n.node_key and i.samples > 0
            order by i.instant_ns limit 1
        ) as f
    ),
    bad as (
        select first.source_key, first.node_key, q.account_uuid, q.inbound_tag
        from first join billing_core.quarantine as q using (source_key, hour, node_key, instant_ns)
        union
        select first.source_key, first.node_key, p.account_uuid, p.inbound_tag
        from first join billing_core.lookback_presence as p using (node_key, hour, instant_ns)
    )
    select first.node_key, first.instant_ns from first
    union all
    select n.node_key, newest.instant_ns
    from billing_core.nodes as n
    cross join lateral (
        select i.instant_ns from billing_core.node_instants as i
        where i.node_key = n.node_key and i.instant_ns < (select billing_core.dropped_end() * 3600000000000)
        order by i.instant_ns desc limit 1
    ) as newest
    union all
    select bad.node_key, shown.instant_ns
    from bad
    cross join lateral (
        select i.instant_ns from billing_core.node_instants as i
        where i.node_key = bad.node_key and i.samples > 0
            and not exists (
                select from billing_core.quarantine as q
                where q.source_key = bad.source_key and q.hour = i.hour and q.node_key = i.node_key
                    and q.instant_ns = i.instant_ns and q.account_uuid = bad.account_uuid
                    and q.inbound_tag = bad.inbound_tag
            )
            and not exists (
                select from billing_core.lookback_presence as p
                where p.node_key = i.node_key and p.hour = i.hour and p.instant_ns = i.instant_ns
                    and p.account_uuid = bad.account_uuid and p.inbound_tag = bad.inbound_tag
            )
        order by i.instant_ns limit 1
    ) as shown
$$;

create function billing_core.due_snapshots(before timestamptz, most bigint) returns table (node_key int, instant_ns bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select n.node_key, old.instant_ns
    from billing_core.nodes as n
    cross join lateral (
        select i.instant_ns from billing_core.node_instants as i
        where i.node_key = n.node_key and i.hour < (select billing_core.past_end(before))
    ) as old
    where (n.node_key, old.instant_ns) not in (select k.node_key, k.instant_ns from billing_core.kept_snapshots() as k)
    limit most
$$;

-- A bad sample tells of a snapshot, and goes once that has gone.
create function billing_core.due_quarantine(before timestamptz, most bigint)
returns table (source_key int, hour int, ordinal int)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select q.source_key, q.hour, q.ordinal
    from billing_core.quarantine as q
    where q.hour < (select billing_core.past_end(before))
        and (q.node_key, q.instant_ns) not in (select k.node_key, k.instant_ns from billing_core.kept_snapshots() as k)
    limit most
$$;

create function billing_core.due_alerts(before timestamptz, most bigint) returns setof bigint language sql stable as $$
    select alert.alert_id
    from billing_core.alerts as alert
    where alert.closed_at < before
    order by alert.alert_id
    limit most
$$;

create function billing_core.drop_snapshots(before timestamptz, most bigint) returns bigint language sql as $$
    with due as materialized (
        select i.node_key, i.instant_ns
        from billing_core.due_snapshots(before, most) as d
        join billing_core.node_instants as i using (node_key, instant_ns)
        for update of i skip locked
    ), dropped as (
        delete from billing_core.node_instants as i using due
        where i.node_key = due.node_key and i.instant_ns = due.instant_ns
        returning 1
    )
    select count(*) from dropped
$$;

create function billing_core.drop_quarantine(before timestamptz, most bigint) returns bigint language sql as $$
    with due as materialized (
        select q.source_key, q.hour, q.ordinal
        from billing_core.due_quarantine(before, null) as d
        join billing_core.quarantine as q using (source_key, hour, ordinal)
        where not exists (
            select from billing_core.node_instants as i
            where i.node_key = q.node_key and i.instant_ns = q.instant_ns
        )
        limit most
        for update of q skip locked
    ), dropped as (
        delete from billing_core.quarantine as q using due
        where q.source_key = due.source_key and q.hour = due.hour and q.ordinal = due.ordinal
        returning 1
    )
    select count(*) from dropped
$$;

create function billing_core.drop_alerts(before timestamptz, most bigint) returns bigint
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with due as materialized (
        select alert.alert_id from billing_core.alerts as alert
        where alert.alert_id in (
            select billing_core.due_alerts(least(before, clock_timestamp() - interval '1 day'), most))
        for update skip locked
    ), told as (
        delete from billing_core.alert_notices as notice using due where notice.alert_id = due.alert_id
    ), dropped as (
        delete from billing_core.alerts as alert using due where alert.alert_id = due.alert_id returning 1
    )
    select count(*) from dropped
$$;

-- Drops the closings of the oldest day that is due, and gives their number; a day of which all stay is moved on the way.
-- `most` says nothing here: a partition is dropped as a whole. What stays is looked for before readers are shut out.
create function billing_core.drop_closings(before timestamptz, most bigint) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '3s' as $$
declare
    superseded constant text :=
        '(select true from billing_core.closings as newer'
        ' where newer.series_id = c.series_id and newer.hour > c.hour and newer.hour < $1 and not newer.provisional'
        ' order by newer.hour limit 1)';
    past constant int := billing_core.dropped_end();
    of_day int;
    child text;
    were bigint;
    stay bigint;
    total bigint := 0;
begin
    perform pg_advisory_xact_lock(hashtext('billing_core.drop_closings'));
    while total = 0 loop
        select c.relname, (extract(epoch from to_date(right(c.relname, 8), 'YYYYMMDD')) / 86400)::int
        into child, of_day
        from pg_inherits as tree
        join pg_class as c on c.oid = tree.inhrelid
        where tree.inhparent = 'billing_core.closings'::regclass and c.relname ~ '^closings_[0-9]{8}$'
        order by 2 limit 1;
        exit when not found or (of_day + 1) * 24 > billing_core.past_end(before);
        execute format('select count(*) from billing_core.%I', child) into were;
        create table billing_core.closings_moved (like billing_core.closings);
        execute format('insert into billing_core.closings_moved select c.* from billing_core.%I as c where %s is null',
                       child, superseded) using past;
        get diagnostics stay = row_count;
        execute 'delete from billing_core.closings_kept as c where ' || superseded using past;
        get diagnostics total = row_count;
        total := total + were - stay;
        -- From here on readers of closings wait.
        alter table billing_core.closings detach partition billing_core.closings_kept;
        insert into billing_core.closings_kept select * from billing_core.closings_moved;
        drop table billing_core.closings_moved;
        execute format('drop table billing_core.%I', child);
        execute format('alter table billing_core.closings attach partition billing_core.closings_kept'
                       ' for values from (minvalue) to (%s)', (of_day + 1) * 24);
    end loop;
    return total;
end $$;

-- The first hour that a new partition of a table may hold: what lies before it is archived, or has its place elsewhere.
create function billing_core.partitions_begin(parent text) returns int language sql stable
security definer set search_path = pg_catalog, pg_temp as $$
    select case parent
        when 'facts' then billing_core.archive_end()
        when 'closings' then billing_core.closings_kept_end()
    end
$$;

-- As before, but asks that function, so that the next rule needs no new copy of this one.
create or replace function billing_core.ensure_day_partition(day int) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    label text := to_char(to_timestamp(day * 86400.0) at time zone 'UTC', 'YYYYMMDD');
    parent record;
    child text;
    made boolean := false;
begin
    for parent in
        select * from (values ('facts', 'minute', day * 1440, (day + 1) * 1440),
                              ('closings', 'hour', day * 24, (day + 1) * 24)) as t (name, key, low, high)
    loop
        child := parent.name || '_' || label;
        continue when to_regclass('billing_core.' || child) is not null;
        continue when day * 24 < billing_core.partitions_begin(parent.name);
        perform pg_advisory_xact_lock(hashtext('billing_core.ensure_day_partition'));
        begin
            execute format('create table billing_core.%I (like billing_core.%I including all, check (%I >= %s and %I < %s))',
                           child, parent.name, parent.key, parent.low, parent.key, parent.high);
            execute format('alter table billing_core.%I attach partition billing_core.%I for values from (%s) to (%s)',
                           parent.name, child, parent.low, parent.high);
            made := true;
        exception when duplicate_table then
            null;  -- the run that held the lock has made and committed it
        end;
    end loop;
    return made;
end $$;
