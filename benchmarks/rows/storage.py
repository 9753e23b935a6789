"""Bytes on disk per active minute: all tables and indexes but the sealed payloads.

A whole day is collected hour by hour, so that the keyed partition fills as it does in real life:
every hour puts rows between those of the hours before. Nothing is vacuumed first.
"""

from dataclasses import dataclass
from typing import Final

import psycopg

from benchmarks.checks import check
from benchmarks.measures import Measure, Size, at_most
from benchmarks.stage import Stage, Worker, environment
from benchmarks.worlds import Fleet
from billing_etl.hours import Hour, parse_hour

DAY_FROM: Final = parse_hour("2025-04-08T00")

_SIZES: Final = """
select regexp_replace(c.relname, '_[0-9]{8}$', ''), sum(pg_total_relation_size(c.oid))::bigint
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'billing_core' and c.relkind = 'r' and c.relname <> 'batches'
group by 1 order by 2 desc
"""


@dataclass(frozen=True, slots=True)
class _Scale:
    accounts: int
    hours: int
    scaled: str = ""


_SCALES: Final[dict[Size, _Scale]] = {
    "full": _Scale(2500, 24),
    "quick": _Scale(500, 12, "500 accounts, 12 hours"),
    "tiny": _Scale(20, 2, "20 accounts, 2 hours"),
}


def measure(stage: Stage, size: Size) -> list[Measure]:
    return [
        _measure(stage, _SCALES[size], "all-active", 10, 150),
        _measure(stage, _SCALES[size], "10% active", 1, 175),
    ]


def _measure(
    stage: Stage, scale: _Scale, name: str, active_of_ten: int, goal_bytes: float
) -> Measure:
    fleet = Fleet(
        stage.worlds,
        f"storage-{active_of_ten}",
        range(scale.accounts),
        active_of_ten=active_of_ten,
    )
    sources = [stage.source(fleet)]
    with stage.database() as url:
        after_one_hour = 0.0
        with Worker(environment(url, sources)) as worker:
            for number in range(scale.hours):
                hour = Hour(DAY_FROM.index + number)
                fleet.serve([hour])
                worker.ask([fleet.name], [hour])
                if number == 0:
                    after_one_hour = sum(_sizes(url).values()) / fleet.expected.facts
        check(url, fleet.expected)
        per_fact = {table: size / fleet.expected.facts for table, size in _sizes(url).items()}
    largest = ", ".join(f"{table} {size:.0f}" for table, size in list(per_fact.items())[:4])
    return Measure(
        f"storage per active minute, {name}",
        "bytes",
        [sum(per_fact.values())],
        goal=at_most(goal_bytes),
        note=f"{largest}; after one hour {after_one_hour:.0f}",
        scaled=scale.scaled,
        details={"bytes_per_fact": per_fact, "after_one_hour": after_one_hour},
    )


def _sizes(url: str) -> dict[str, int]:
    """Bytes per table with its indexes, largest first; partitions count as their table."""
    with psycopg.connect(url) as connection:
        return {str(table): int(size) for table, size in connection.execute(_SIZES)}
