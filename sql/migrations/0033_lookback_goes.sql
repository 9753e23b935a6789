-- Purpose: what look-back saw in quarantine goes with its snapshot, as bad samples that were collected do.
-- Grain:   bad sample of look-back.

create function billing_core.due_lookback(before timestamptz, most bigint)
returns table (node_key int, instant_ns bigint, account_uuid text, inbound_tag text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select p.node_key, p.instant_ns, p.account_uuid, p.inbound_tag
    from billing_core.lookback_presence as p
    where p.hour < (select billing_core.past_end(before))
        and (p.node_key, p.instant_ns) not in (select k.node_key, k.instant_ns from billing_core.kept_snapshots() as k)
    limit most
$$;

-- By place, as two bad samples of one series in one snapshot are two equal rows.
create function billing_core.drop_lookback(before timestamptz, most bigint) returns bigint language sql as $$
    with due as materialized (
        select p.ctid as place
        from billing_core.lookback_presence as p
        where (p.node_key, p.instant_ns, p.account_uuid, p.inbound_tag) in (
                select d.node_key, d.instant_ns, d.account_uuid, d.inbound_tag
                from billing_core.due_lookback(before, null) as d)
            and not exists (
                select from billing_core.node_instants as i
                where i.node_key = p.node_key and i.instant_ns = p.instant_ns
            )
        limit most
        for update skip locked
    ), dropped as (
        delete from billing_core.lookback_presence as p using due where p.ctid = due.place
        returning 1
    )
    select count(*) from dropped
$$;
