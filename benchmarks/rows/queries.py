"""What analysts ask, on twenty million facts, through the views.

The facts are collected and rated by the pipeline, so that every table behind the views is as it
would be: 2,500 accounts x 2 inbounds with a snapshot every ten minutes for the 28 days of a month.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import psycopg

from benchmarks.checks import check, count_is
from benchmarks.measures import Measure, Size, at_most
from benchmarks.stage import Stage, Worker, environment
from benchmarks.worlds import Fleet, account_uuid
from billing_etl.hours import Hour, parse_hour

MONTH_FROM: Final = parse_hour("2025-02-01T00")

_PATIENCE_MS: Final = 60_000
_MONTH_OF_ACCOUNT: Final = """
select day, region, uplink_bytes, downlink_bytes, total_bytes, included_bytes, rated_bytes, amount
from billing.usage_days
where account_uuid = %(account)s and day >= %(from)s and day < %(until)s
order by day
"""
_TOP_OF_DAY: Final = """
select account_uuid, sum(total_bytes) as total_bytes
from billing.usage_days
where day = %(day)s
group by account_uuid order by total_bytes desc limit 20
"""


@dataclass(frozen=True, slots=True)
class _Scale:
    accounts: int
    snapshots: int
    days: int
    repetitions: int
    scaled: str = ""


_SCALES: Final[dict[Size, _Scale]] = {
    "full": _Scale(2500, 6, 28, 21),
    "quick": _Scale(2500, 6, 2, 3, "2 days"),
    "tiny": _Scale(20, 6, 1, 1, "1 day, 20 accounts"),
}


def measure(stage: Stage, size: Size) -> list[Measure]:
    scale = _SCALES[size]
    fleet = Fleet(stage.worlds, "queries", range(scale.accounts), snapshots=scale.snapshots)
    sources = [stage.source(fleet)]
    with stage.database() as url:
        with Worker(environment(url, sources)) as worker:
            for day in range(scale.days):
                first = MONTH_FROM.index + 24 * day
                hours = [Hour(index) for index in range(first, first + 24)]
                fleet.serve(hours)
                worker.ask([fleet.name], hours)
        check(url, fleet.expected)
        with psycopg.connect(url, autocommit=True) as connection:
            # As autovacuum leaves it sooner or later.
            connection.execute("vacuum (analyze)")
        stage.settle()
        with psycopg.connect(url) as connection:
            days_ms = _milliseconds(scale, lambda number: _month(connection, fleet, scale, number))
            top_ms = _milliseconds(scale, lambda number: _top(connection, scale, number))
    facts = f"{fleet.expected.facts:,} facts"
    return [
        Measure(
            "usage_days of a month, one account",
            "ms",
            days_ms,
            goal=at_most(50),
            note=f"{facts}; another account each time",
            scaled=scale.scaled,
        ),
        Measure(
            "top 20 accounts of a day",
            "ms",
            top_ms,
            goal=at_most(500),
            note=f"{facts}; another day each time",
            scaled=scale.scaled,
        ),
    ]


def _milliseconds(scale: _Scale, ask: Callable[[int], None]) -> list[float]:
    """Times of repeated questions; a slow one is not repeated for ever."""
    times: list[float] = []
    for number in range(scale.repetitions):
        if sum(times) > _PATIENCE_MS:
            break
        started = time.perf_counter()
        ask(number)
        times.append(1000 * (time.perf_counter() - started))
    return times


def _month(connection: psycopg.Connection[Any], fleet: Fleet, scale: _Scale, number: int) -> None:
    account = account_uuid(number * 7919 % scale.accounts)
    rows = connection.execute(
        _MONTH_OF_ACCOUNT,
        {
            "account": account,
            "from": MONTH_FROM.start,
            "until": MONTH_FROM.start + timedelta(days=28),
        },
    ).fetchall()
    _, uplink, downlink = fleet.expected.of[MONTH_FROM.start.strftime("%Y-%m"), account]
    count_is(f"days of {account}", scale.days, len(rows))
    count_is(f"bytes of {account}", uplink + downlink, sum(row[4] for row in rows))


def _top(connection: psycopg.Connection[Any], scale: _Scale, number: int) -> None:
    day = MONTH_FROM.start + timedelta(days=number % scale.days)
    rows = connection.execute(_TOP_OF_DAY, {"day": day}).fetchall()
    count_is("top accounts", min(20, scale.accounts), len(rows))
