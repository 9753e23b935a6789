"""What must always hold (docs/semantics.md), asked of the tables with SQL of its own.

The reconciliation of the project asks the same of live data; this is a second writing of it.
"""

from collections.abc import Sequence
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
        select series_id, minute, f.included_quantity
        from billing_core.facts f join billing_core.series using (series_id)
            join billing_core.account_hours h using (account_key, meter_id)
        where h.hour = minute / 60 and (f.uplink_quantity < 0 or f.downlink_quantity < 0
            or f.uplink_quantity + f.downlink_quantity = 0
            or (not h.stale and (f.included_quantity < 0
                or f.included_quantity > f.uplink_quantity + f.downlink_quantity)))
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
    "hours and days of the views are the sums of their minutes": """
        with minutes as (
            select account_uuid, region, date_trunc('hour', minute, 'UTC') as hour,
                sum(uplink_bytes) as uplink, sum(downlink_bytes) as downlink,
                sum(total_bytes) as total, sum(included_bytes) as included,
                sum(rated_bytes) as rated, sum(amount) as amount
            from billing.usage_minutes group by 1, 2, 3
        ), days as (
            select account_uuid, region, date_trunc('day', hour, 'UTC') as day,
                sum(uplink) as uplink, sum(downlink) as downlink, sum(total) as total,
                sum(included) as included, sum(rated) as rated, sum(amount) as amount
            from minutes group by 1, 2, 3
        ), by_hour as (
            select account_uuid, region, hour, uplink_bytes, downlink_bytes, total_bytes,
                included_bytes, rated_bytes, amount
            from billing.usage_hours
        ), by_day as (
            select account_uuid, region, day, uplink_bytes, downlink_bytes, total_bytes,
                included_bytes, rated_bytes, amount
            from billing.usage_days
        )
        (select * from minutes except select * from by_hour)
        union all (select * from by_hour except select * from minutes)
        union all (select * from days except select * from by_day)
        union all (select * from by_day except select * from days)
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
                or h.amount <> coalesce(b.amount, 0)
                or coalesce(b.rated, 0) <> coalesce(p.rated, 0)
                or p.account_key is null)
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
    "R7 entries are posted in the first open period": """
        select entry_id, e.period_hour from billing_core.ledger_entries e
            join billing_core.closed_periods using (period_hour)
        where created_at > closed_at
        union all
        select entry_id, e.period_hour from billing_core.ledger_entries e
        where e.period_hour > e.hour and not exists (
            select from billing_core.closed_periods c
            where billing_core.next_period_hour(c.period_hour) = e.period_hour
                and c.closed_at < e.created_at)
    """,
    "C12 a checkpoint ends the contiguous settled hours": """
        with settled as (
            select source_key, s.first_hour, s.checkpoint_hour,
                s.first_hour + coalesce((
                    select min(n) from generate_series(0, 200) n where not exists (
                        select from billing_core.source_hours h
                        where (h.source_key, h.hour) = (s.source_key, s.first_hour + n)
                            and h.state <> 'partial'))::int, 0) as expected
            from billing_core.sources s where s.first_hour is not null
        )
        select * from settled where checkpoint_hour <> expected
    """,
}

# What tells how a state was reached, or when it was looked at: it grows with every run.
HISTORY: Final = ("runs", "sources", "reconciliations", "delivery_heartbeats")
# What an hour, its money and its delivery consist of.
STATE: Final = frozenset(
    {
        "account_balances",
        "account_hours",
        "batches",
        "closed_periods",
        "closings",
        "counter_resets",
        "deliveries",
        "facts",
        "ledger_entries",
        "node_instants",
        "plan_members",
        "price_versions",
        "quarantine",
        "sealed_facts",
        "source_hours",
        "source_regions",
        "usage_gaps",
    }
)


def broken_invariants(connection: psycopg.Connection) -> list[str]:
    """One line per invariant that does not hold, with the first rows that break it."""
    broken = []
    for name, query in INVARIANTS.items():
        rows = connection.execute(query.encode()).fetchmany(3)
        if rows:
            broken.append(f"{name}: {rows}")
    return broken


def tables(connection: psycopg.Connection) -> list[str]:
    """Every table but the history."""
    return [
        name
        for (name,) in connection.execute(
            "select relname from pg_class where relkind in ('r', 'p') and not relispartition"
            " and relnamespace = 'billing_core'::regnamespace order by relname"
        )
        if name not in HISTORY
    ]


def fingerprints(
    connection: psycopg.Connection, names: Sequence[str] | None = None
) -> dict[str, str]:
    """A hash of place and ``xmin`` of every row, per table: equal only when nothing was written.

    Of sources, which note every attempt, what they know.
    """
    query = " union all ".join(
        f"select '{name}', coalesce(md5(string_agg(tableoid::text || ctid || xmin || '', ',')), '')"
        f" from (select tableoid, ctid, xmin from billing_core.{name} order by 1, 2) t"
        for name in (tables(connection) if names is None else names)
    )
    query += (
        " union all select 'sources', md5(string_agg(concat_ws('|', source_id, first_hour,"
        " checkpoint_hour, last_error), ',' order by source_id)) from billing_core.sources"
    )
    return dict(connection.execute(query.encode()).fetchall())
