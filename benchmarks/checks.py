"""Holds what the pipeline stored against sums made without it.

Read from the tables with statements of the benchmark's own; money is calculated here.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg

from benchmarks.stage import PRICE, QUOTA_BYTES
from benchmarks.worlds import Expected

# History of runs and attempts: written by every run, also by one that changes nothing.
_ALWAYS_WRITTEN = ("runs", "sources")

_FACTS = """
select a.account_uuid::text, t.day, t.facts, t.uplink, t.downlink, t.included,
       (t.uplink + t.downlink - t.included) * r.amount_per_unit
from (select s.account_key, f.minute / 1440 as day, f.rate_id, count(*) as facts,
             sum(f.uplink_quantity) as uplink, sum(f.downlink_quantity) as downlink,
             sum(f.included_quantity) as included
      from billing_core.facts f join billing_core.series s using (series_id)
      group by s.account_key, f.minute / 1440, f.rate_id) t
join billing_core.accounts a using (account_key)
left join billing_core.rates r using (rate_id)
"""

_LEDGER = """
select a.account_uuid::text, e.hour / 24, sum(e.rated_quantity), sum(e.amount)
from billing_core.ledger_entries e join billing_core.accounts a using (account_key)
group by 1, 2
"""

_UNRATED = "select count(*) from billing_core.account_hours where stale or not rated"

_BALANCES = "select sum(balance) from billing_core.account_balances"

_TABLES = """
select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'billing_core' and c.relkind = 'r' and c.relname <> all (%s) order by 1
"""


class WrongResultError(Exception):
    """What was measured did not do its work."""


def check(database_url: str, expected: Expected, quota_bytes: int = QUOTA_BYTES) -> None:
    """Facts, bytes, quota, ledger and balances of every account and month.

    Raises:
        WrongResultError: something is not as the benchmark's own sums say.
    """
    usage: dict[tuple[str, str], list[Any]] = defaultdict(lambda: [0, 0, 0, 0, Decimal(0)])
    ledger: dict[tuple[str, str], list[Any]] = defaultdict(lambda: [0, Decimal(0)])
    with psycopg.connect(database_url) as connection:
        for account, day, *sums in connection.execute(_FACTS):
            if None in sums:
                raise WrongResultError(f"account {account}, day {day}: expected rated facts")
            _add(usage[_month(day), account], sums)
        for account, day, *sums in connection.execute(_LEDGER):
            _add(ledger[_month(day), account], sums)
        unrated = connection.execute(_UNRATED).fetchone()
        balance = connection.execute(_BALANCES).fetchone()
    _same("accounts and months with facts", set(expected.of), set(usage))
    _same("accounts and months with ledger entries", set(expected.of), set(ledger))
    owed = Decimal(0)
    for key, (facts, uplink, downlink) in expected.of.items():
        included = min(uplink + downlink, quota_bytes)
        rated = uplink + downlink - included
        owed += rated * PRICE
        _same(f"usage of {key}", [facts, uplink, downlink, included, rated * PRICE], usage[key])
        _same(f"ledger of {key}", [rated, rated * PRICE], ledger[key])
    _same("account-hours that are not rated", (0,), unrated)
    _same("sum of balances", (-owed,), balance)


def _add(known: list[Any], sums: Iterable[Any]) -> None:
    known[:] = [before + added for before, added in zip(known, sums, strict=True)]


def _month(day: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).strftime("%Y-%m")


def _same(what: str, expected: Any, actual: Any) -> None:
    if expected != actual:
        if isinstance(expected, set):
            expected, actual = sorted(expected - actual)[:3], sorted(actual - expected)[:3]
        raise WrongResultError(f"{what}: expected {expected}, got {actual}")


def count_is(what: str, expected: int, actual: int) -> None:
    _same(what, expected, actual)


def row_versions(database_url: str) -> dict[str, tuple[int, int]]:
    """Per table the number of rows, and a sum over place and writing transaction of each."""
    with psycopg.connect(database_url) as connection:
        tables = [str(row[0]) for row in connection.execute(_TABLES, (list(_ALWAYS_WRITTEN),))]
        versions: dict[str, tuple[int, int]] = {}
        for table in tables:
            row = connection.execute(
                "select count(*), coalesce(sum(hashtextextended(ctid::text || ' ' || xmin::text, 0)"
                f"::numeric), 0) from billing_core.{table}".encode()
            ).fetchone()
            assert row is not None
            versions[table] = (int(row[0]), int(row[1]))
    return versions
