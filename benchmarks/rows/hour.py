"""One all-active hour: from HTTP to committed rated facts, against a bare COPY, and again."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from benchmarks.checks import check, count_is, row_versions
from benchmarks.measures import Measure, Size, at_least, at_most
from benchmarks.stage import Run, Stage, mean_cpu_seconds
from benchmarks.worlds import Fleet
from billing_etl.hours import parse_hour

HOUR: Final = parse_hour("2025-04-08T12")
_COPY_BLOCK_BYTES: Final = 256 * 1024
_COLUMNS: Final = sql.SQL(
    "uplink_quantity, downlink_quantity, included_quantity, series_id, minute, rate_id,"
    " spans_minutes, revision, sealing, is_reset"
)
_INTO: Final = sql.SQL("copy billing_core.facts ({}) from stdin (format binary)").format(_COLUMNS)


@dataclass(frozen=True, slots=True)
class HourScale:
    """How many accounts an hour has, and how often it is measured."""

    accounts: int
    repetitions: int
    scaled: str = ""


HOUR_SCALES: Final[dict[Size, HourScale]] = {
    "full": HourScale(2500, 7),
    "quick": HourScale(2500, 3),
    "tiny": HourScale(20, 1, "20 accounts"),
}


def measure(stage: Stage, size: Size) -> list[Measure]:
    scale = HOUR_SCALES[size]
    fleet = Fleet(stage.worlds, "all-active", range(scale.accounts))
    fleet.serve([HOUR.previous, HOUR])
    sources = [stage.source(fleet)]
    beginnings: list[Run] = []
    firsts: list[Run] = []
    replays: list[Run] = []
    copies: list[float] = []
    rewritten: list[float] = []
    for _ in range(scale.repetitions):
        with stage.database() as url:
            beginnings.append(stage.run(url, sources, [HOUR.previous]))
            firsts.append(stage.run(url, sources, [HOUR]))
            count_is("samples", fleet.samples_per_hour, firsts[-1].samples)
            check(url, fleet.expected)
            before = row_versions(url)
            replays.append(stage.run(url, sources, [HOUR]))
            after = row_versions(url)
            rewritten.append(sum(before[table] != after[table] for table in before))
            copies.append(fleet.samples_per_hour / _bare_copy_seconds(stage, url, sources))
    rates = [run.samples_per_second for run in firsts]
    limits = [run.most_samples_per_second for run in firsts]
    replay_rates = [run.samples_per_second for run in replays]
    return [
        Measure(
            "one hour, every series active",
            "samples/s",
            rates,
            goal=at_least(250_000),
            cpu_seconds=mean_cpu_seconds(firsts),
            note="the hour before is known",
            scaled=scale.scaled,
        ),
        Measure(
            "the first hour of a new source",
            "samples/s",
            [run.samples_per_second for run in beginnings],
            cpu_seconds=mean_cpu_seconds(beginnings),
            note="every account and series is new, too",
            scaled=scale.scaled,
        ),
        Measure(
            "hour / bare COPY of its facts",
            "rows/s (COPY)",
            copies,
            ratios=[rate / copy for rate, copy in zip(rates, copies, strict=True)],
            ratio_goal=at_least(0.6),
            note="binary, one connection, sorted, with commit; the table as the hour found it",
            scaled=scale.scaled,
        ),
        Measure(
            "hour / what its one server process allows",
            "samples/s (limit)",
            limits,
            ratios=[rate / limit for rate, limit in zip(rates, limits, strict=True)],
            note="a bound, no goal: the CPU seconds of PostgreSQL, one transaction is one process",
            scaled=scale.scaled,
        ),
        Measure(
            "replay / first run",
            "samples/s",
            replay_rates,
            ratios=[again / rate for again, rate in zip(replay_rates, rates, strict=True)],
            ratio_goal=at_least(1.8),
            cpu_seconds=mean_cpu_seconds(replays),
            scaled=scale.scaled,
        ),
        Measure(
            "tables with a row written by the replay",
            "tables",
            rewritten,
            goal=at_most(0),
            note="ctid and xmin of every row; all tables but runs and sources",
            scaled=scale.scaled,
        ),
    ]


def _bare_copy_seconds(stage: Stage, url: str, sources: Sequence[Mapping[str, Any]]) -> float:
    """Time to put the hour's facts into the fact table as the hour found it."""
    with psycopg.connect(url) as connection:
        data = _copied_out(connection)
    with stage.database() as empty_url:
        stage.run(empty_url, sources, [HOUR.previous])
        stage.settle()
        with psycopg.connect(empty_url) as connection:
            started = time.perf_counter()
            with connection.cursor().copy(_INTO) as copy:
                for start in range(0, len(data), _COPY_BLOCK_BYTES):
                    copy.write(data[start : start + _COPY_BLOCK_BYTES])
            connection.commit()
            return time.perf_counter() - started


def _copied_out(connection: psycopg.Connection[Any]) -> bytes:
    query = sql.SQL(
        "copy (select {} from billing_core.facts where minute >= {} and minute < {}"
        " order by series_id, minute) to stdout (format binary)"
    ).format(_COLUMNS, HOUR.first_minute, HOUR.next.first_minute)
    with connection.cursor().copy(query) as copy:
        return b"".join(bytes(block) for block in copy)
