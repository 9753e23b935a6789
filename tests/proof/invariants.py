"""What must always hold (docs/semantics.md), asked of the tables with SQL of its own.

The reconciliation of the project asks the same of live data; this is a second writing of it.
"""

from typing import Final

import psycopg

# Every query gives the rows that break the invariant.
INVARIANTS: Final = {
    "1 bytes are conserved": """
        with measured as (
            select series_id, minute / 60 as hour, sum(uplink_quantity + downlink_quantity) as bytes
            from billing_core.facts group by 1, 2
        ), fallen as (
            select series_id, hour, sum(uplink_before + downlink_before) as bytes
            from billing_core.counter_resets group by 1, 2
        ), claimed as (
            select series_id, hour, last_uplink + last_downlink
                - case first_kind when 3 then 0 when 6 then 0
                    when 4 then first_uplink + first_downlink
                    when 5 then first_uplink + first_downlink
                    else prev_uplink + prev_downlink end as bytes
            from billing_core.closings where not provisional
        )
        select series_id, hour, measured.bytes, claimed.bytes, fallen.bytes
        from claimed full join measured using (series_id, hour)
            left join fallen using (series_id, hour)
        where coalesce(claimed.bytes, 0) + coalesce(fallen.bytes, 0) <> coalesce(measured.bytes, 0)
    """,
    "2 included + rated = bytes": """
        select series_id, minute, facts.included_quantity
        from billing_core.facts join billing_core.series using (series_id)
            join billing_core.account_hours h using (account_key, meter_id)
        where h.hour = minute / 60 and (uplink_quantity < 0 or downlink_quantity < 0
            or uplink_quantity + downlink_quantity = 0
            or (not h.stale and (facts.included_quantity < 0
                or facts.included_quantity > uplink_quantity + downlink_quantity)))
    """,
    "2 account-hours are the sums of their facts": """
        with summed as (
            select account_key, meter_id, minute / 60 as hour,
                sum(uplink_quantity + downlink_quantity) as quantity,
                sum(included_quantity) as included, bool_and(rate_id > 0) as rated
            from billing_core.facts join billing_core.series using (series_id) group by 1, 2, 3
        )
        select * from billing_core.account_hours h full join summed s
            using (account_key, meter_id, hour)
        where coalesce(h.quantity, 0) <> coalesce(s.quantity, 0)
            or (not h.stale and (h.included_quantity <> coalesce(s.included, 0)
                or not coalesce(s.rated, true)))
            or (h.account_key is null)
    """,
    "3 amounts equal the ledger, once rated": """
        with billed as (
            select account_key, minute / 60 as hour,
                sum((uplink_quantity + downlink_quantity - included_quantity) * amount_per_unit)
                    as amount,
                sum(uplink_quantity + downlink_quantity - included_quantity) as rated
            from billing_core.facts join billing_core.series using (series_id)
                join billing_core.rates using (rate_id) group by 1, 2
        ), posted as (
            select account_key, hour, sum(amount) as amount, sum(rated_quantity) as rated
            from billing_core.ledger_entries where hour is not null group by 1, 2
        )
        select * from billing_core.account_hours h
            left join billed b using (account_key, hour)
            left join posted p using (account_key, hour)
        where h.rated and not h.stale
            and (coalesce(b.amount, 0) <> coalesce(p.amount, 0)
                or coalesce(b.rated, 0) <> coalesce(p.rated, 0))
    """,
    "4 fetched = used + duplicate + baseline + quarantined": """
        select source_key, hour from billing_core.source_hours
        where samples <> used + duplicates + baselines + quarantined
            or quarantined <> (select count(*) from billing_core.quarantine q
                where (q.source_key, q.hour) = (source_hours.source_key, source_hours.hour))
            or snapshots <> (select count(*) from billing_core.node_instants i
                join billing_core.nodes n using (node_key)
                where (n.source_key, i.hour) = (source_hours.source_key, source_hours.hour)
                    and not i.provisional)
    """,
    "R5 one first entry per account-hour, then adjustments": """
        select * from (
            select account_key, hour, period_hour, entry_type, reason,
                row_number() over (partition by account_key, hour order by entry_id) as place
            from billing_core.ledger_entries where hour is not null
        ) e
        where (place > 1 and entry_type <> 'adjustment') or reason = ''
            -- R7: posted in a later period than its own, the first one is an adjustment too.
            or (place = 1 and (entry_type = 'traffic_charge') <> (period_hour <= hour))
    """,
    "R6 balances run on from entry to entry": """
        with chained as (
            select account_key, entry_id, balance_after,
                opening_balance + sum(case when hour is null then amount else -amount end)
                    over (partition by account_key order by entry_id) as expected
            from billing_core.ledger_entries join billing_core.accounts using (account_key)
        )
        select account_key, entry_id, balance_after, expected from chained
        where balance_after <> expected
        union all
        select account_key, null, balance, last.balance_after from billing_core.account_balances
            join lateral (select balance_after from billing_core.ledger_entries e
                where e.account_key = account_balances.account_key
                order by entry_id desc limit 1) last on true
        where balance <> last.balance_after
            or (throttle_state = 'throttled') <> (balance < 0) or (arrears > 0) <> (balance < 0)
    """,
    "R7 nothing is posted in a closed period": """
        select entry_id, period_hour from billing_core.ledger_entries
            join billing_core.closed_periods using (period_hour)
        where created_at > closed_at
    """,
    "5 one event id per sealed change": """
        select event from (
            select unnest(array_agg(object_key)) as event from billing_core.batches
            group by bucket, object_key having count(*) > 1
        ) twice
    """,
}

# What tells how a state was reached, or when it was looked at: it grows with every run.
HISTORY: Final = frozenset({"runs", "sources", "reconciliations"})


def broken_invariants(connection: psycopg.Connection) -> list[str]:
    """One line per invariant that does not hold, with the first rows that break it."""
    broken = []
    for name, query in INVARIANTS.items():
        rows = connection.execute(query.encode()).fetchmany(3)
        if rows:
            broken.append(f"{name}: {rows}")
    return broken


def tables(connection: psycopg.Connection) -> list[str]:
    return [
        name
        for (name,) in connection.execute(
            "select relname from pg_class where relkind in ('r', 'p') and not relispartition"
            " and relnamespace = 'billing_core'::regnamespace order by relname"
        )
        if name not in HISTORY
    ]


def fingerprints(connection: psycopg.Connection, names: list[str]) -> dict[str, str]:
    """A hash of every row with its ``xmin`` per table: equal only when nothing was written."""
    query = " union all ".join(
        f"select '{name}', coalesce(md5(string_agg(tableoid::text || ctid || xmin || '', ',')), '')"
        f" from (select tableoid, ctid, xmin from billing_core.{name} order by 1, 2) t"
        for name in names
    )
    return dict(connection.execute(query.encode()).fetchall())
