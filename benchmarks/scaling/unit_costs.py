"""Measures the unit costs: small real runs on the embedded services, and differences of them.

A cost per 1,000 of something is the difference of two runs that have more and less of it and are
otherwise the same. CPU seconds hardly depend on what else runs on the machine; waits do.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import psycopg

from benchmarks import report
from benchmarks.rows import storage
from benchmarks.scaling import airflow_costs
from benchmarks.scaling.cold_facts import cold_fact_bytes
from benchmarks.scaling.costs import Cost, UnitCosts, from_json
from benchmarks.scaling.ground import Done, Ground, ground
from benchmarks.scaling.services import object_store
from benchmarks.stage import Stage
from benchmarks.worlds import Fleet
from billing_etl.hours import Hour, HourRange, parse_hour
from billing_etl.settings import Settings

FIRST: Final = parse_hour("2025-04-08T00")
_TINY_SOURCES: Final = 24
_ACCOUNTS: Final = 350  # 42,000 samples: below what is written while it is read
_WAITING_HOURS: Final = 12
_WAITING_ACCOUNTS: Final = 2500
_RATE_RUNS: Final = 5
_STORED_DAYS: Final = 300
_CONFIGURED: Final = 2000
_ROUND_TRIPS: Final = 2000
_LOG_BYTES: Final = 256 * 1024 * 1024

Costs = dict[str, Cost | float]


def measure(stage: Stage, parts: Mapping[str, Callable[[Stage], Costs]]) -> Costs:
    costs: Costs = {}
    for name, part in parts.items():
        print(f"{name} ...", flush=True)
        costs |= part(stage)
        stage.clear()
    return costs


def about(stage: Stage) -> dict[str, Any]:
    """When and where: a cost means nothing without."""
    return {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": report.machine(),
        "postgres": dict(stage.facts),
    }


def complete(costs: Costs, stored: Mapping[str, Any] | None) -> UnitCosts:
    """All costs; those that were not measured now are the stored ones."""
    known = dict(stored or {})
    known |= {name: json.loads(json.dumps(cost, default=_as_dict)) for name, cost in costs.items()}
    return from_json(known)


def _as_dict(cost: Cost) -> dict[str, float]:
    return {name: getattr(cost, name) for name in Cost.__dataclass_fields__}


# --- a source-hour ------------------------------------------------------------------------------


def source_hours(stage: Stage) -> Costs:
    """Three kinds of source-hours: tiny ones, and large ones with few and with many facts."""
    tiny = [Fleet(stage.worlds, f"tiny-{at:02}", [at]) for at in range(_TINY_SOURCES)]
    sparse, dense = (
        [Fleet(stage.worlds, f"{name}-{at}", _numbers(at), active_of_ten=active) for at in range(2)]
        for name, active in (("sparse", 1), ("dense", 10))
    )
    costs: Costs = {}
    with stage.database() as url, _served(stage, url, tiny) as run:
        names = [fleet.name for fleet in tiny]
        run.do("collect", _hours(0), names)
        plain = run.do("collect", _hours(1, 3), names)
        apart = run.do("collect", _hours(3), names, tasks=len(names))
        again = run.do("collect", _hours(1, 3), names)
        planned = run.do("plan", _hours(3))
        connected = run.do("plan_connected", _hours(3))
        checked = run.do("reconcile", _hours(1))
    free, locked = _per_source_hour(plain)
    of_tasks, locked_of_tasks = _per_source_hour(apart)
    costs["connection"] = (of_tasks + locked_of_tasks - free - locked).at_least_zero()
    costs["plan_source"] = planned.cost * (1 / len(tiny))
    costs["plan_source_connected"] = connected.cost * (1 / len(tiny))
    costs["reconciled_hour"] = checked.cost * (1 / len(tiny))
    costs |= {
        name: plain.observed[name] / plain.counts["source_hours"]
        for name in ("round_trips", "locked_round_trips", "requests")
    }
    few, _, few_again = _large(stage, sparse)
    many, locked_many, _ = _large(stage, dense)
    samples, few_facts, many_facts = (count * 120 / 1000 for count in (_ACCOUNTS, 35, _ACCOUNTS))
    facts = (many - few) * (1 / (many_facts - few_facts))
    of_samples = (few - free - facts * few_facts) * (1 / samples)
    account_hours = (locked_many - locked) * (1000 / _ACCOUNTS)
    tiny_again = again.cost * (1 / again.counts["source_hours"])
    costs |= {
        "facts_1000": facts.at_least_zero(),
        "samples_1000": of_samples.at_least_zero(),
        "source_hour": (free - (of_samples + facts) * 0.12).at_least_zero(),
        "locked": (locked - account_hours * 0.001).at_least_zero(),
        "locked_account_hours_1000": account_hours.at_least_zero(),
        "again": tiny_again,
        "samples_again_1000": ((few_again - tiny_again) * (1 / samples)).at_least_zero(),
    }
    return costs


def _large(stage: Stage, fleets: list[Fleet]) -> tuple[Cost, Cost, Cost]:
    """A source-hour without and under the rating lock, and collected again."""
    names = [fleet.name for fleet in fleets]
    with stage.database() as url, _served(stage, url, fleets) as run:
        run.do("collect", _hours(0), names)
        free, locked = _per_source_hour(run.do("collect", _hours(1, 3), names))
        again = run.do("collect", _hours(1, 3), names)
    return free, locked, again.cost * (1 / again.counts["source_hours"])


def _per_source_hour(done: Done) -> tuple[Cost, Cost]:
    """A source-hour: without what it does under the rating lock, and that."""
    count = done.counts["source_hours"]
    if done.observed["locked"] != count:
        raise RuntimeError(f"expected {count} source-hours rated, got {done.observed['locked']}")
    locked = Cost(
        worker_seconds=done.observed["locked_worker_seconds"],
        database_seconds=done.observed["locked_database_seconds"],
        wait_seconds=done.observed["locked_commit_wait_seconds"],
    )
    return (done.cost - locked) * (1 / count), locked * (1 / count)


def partitions(stage: Stage) -> Costs:
    """The same source-hours before and after the partitions of many earlier days are there."""
    tiny = [Fleet(stage.worlds, f"tiny-{at:02}", [at]) for at in range(_TINY_SOURCES)]
    names = [fleet.name for fleet in tiny]
    with stage.database() as url, _served(stage, url, tiny) as run:
        run.do("collect", _hours(0), names)
        before = run.do("collect", _hours(1), names)
        today = FIRST.index // 24
        with psycopg.connect(url, autocommit=True) as connection:
            for day in range(today - 2 - _STORED_DAYS, today - 2):
                connection.execute("select billing_core.ensure_day_partition(%s)", (day,))
        after = run.do("collect", _hours(2), names)
    more = (after.cost - before.cost) * (100 / _STORED_DAYS / len(names))
    return {"stored_days_100": _cpu(more)}


def _cpu(cost: Cost) -> Cost:
    """Only CPU of a difference: its waits and WAL are noise."""
    return Cost(
        worker_seconds=cost.worker_seconds, database_seconds=cost.database_seconds
    ).at_least_zero()


# --- what waits for `rate` ----------------------------------------------------------------------


def waiting(stage: Stage) -> Costs:
    """Accounts that two sources serve wait for `rate`: little and much per account-hour."""
    slow = [
        Fleet(stage.worlds, f"slow-{at}", range(_WAITING_ACCOUNTS), snapshots=1) for at in range(2)
    ]
    fast = [Fleet(stage.worlds, f"fast-{at}", range(100)) for at in range(2)]
    hours = _hours(0, _WAITING_HOURS)
    with stage.database() as url, _served(stage, url, slow, hours) as run:
        run.do("collect", hours, [fleet.name for fleet in slow])
        many = run.do("rate", hours)
        nothing = [run.do("rate", hours).cost for _ in range(_RATE_RUNS)]
    with stage.database() as url, _served(stage, url, fast) as run:
        names = [fleet.name for fleet in fast]
        run.do("collect", _hours(0), names)
        run.do("rate", _hours(0))  # from now on they are known to share their accounts
        run.do("collect", _hours(1, 4), names)
        large = run.do("rate", _hours(1, 4))
    idle = sum(nothing, Cost()) * (1 / len(nothing))
    # Per account-hour: 4 facts of the slow sources, 240 of the fast.
    less = (many.cost - idle) * (1 / many.counts["account_hours"])
    more = (large.cost - idle) * (1 / large.counts["account_hours"])
    facts = ((more - less) * (1000 / 236)).at_least_zero()
    return {
        "rate_run": idle,
        "rate_facts_1000": facts,
        "rate_account_hours_1000": (less * 1000 - facts * 4).at_least_zero(),
    }


# --- delivery and reconciliation ----------------------------------------------------------------


def delivery(stage: Stage) -> Costs:
    """An hour with many and one with few facts is sealed, sent and reconciled."""
    sparse = Fleet(stage.worlds, "sparse", _numbers(0), active_of_ten=1)
    dense = Fleet(stage.worlds, "dense", _numbers(0))
    with object_store(stage) as (settings, keys):
        few = _delivered(stage, sparse, settings, keys, "sparse/")
        many = _delivered(stage, dense, settings, keys, "dense/")
        large = _delivered(
            stage, dense, settings | {"BILLING_S3_MAX_EVENTS": "5000"}, keys, "large/"
        )
    sealed, checked = many
    sealed_large, _ = large
    objects_more = sealed.counts["objects"] - sealed_large.counts["objects"]
    per_object = (sealed.waited - sealed_large.waited) * (1 / objects_more)
    events = sealed_large.waited - per_object * sealed_large.counts["objects"]
    few_facts, many_facts = (each.counts["events"] / 1000 for each in (few[0], sealed))
    facts = (checked.waited - few[1].waited) * (1 / (many_facts - few_facts))
    samples = dense.samples_per_hour / 1000
    return {
        "object": per_object.at_least_zero(),
        "events_1000": (events * (1000 / sealed_large.counts["events"])).at_least_zero(),
        "reconciled_facts_1000": facts.at_least_zero(),
        "reconciled_samples_1000": (
            (few[1].waited - facts * few_facts) * (1 / samples)
        ).at_least_zero(),
    }


def _delivered(
    stage: Stage, fleet: Fleet, settings: dict[str, str], keys: dict[str, str], prefix: str
) -> tuple[Done, Done]:
    """What sealing with sending, and reconciling the same hour took."""
    own = settings | {"BILLING_S3_PREFIX": prefix}
    with (
        stage.database() as url,
        _served(stage, url, [fleet], settings=own, variables=keys) as run,
    ):
        run.do("collect", _hours(0, 2), [fleet.name])
        return run.do("deliver", _hours(1)), run.do("reconcile", _hours(1))


# --- storage, settings, disk --------------------------------------------------------------------


def stored_facts(stage: Stage) -> Costs:
    """Bytes per fact where it is written, where it is only read, and how fast it can be read."""
    dense, sparse = (each.values[0] for each in storage.measure(stage, "quick"))
    fleet = Fleet(stage.worlds, "cold", _numbers(0))
    with stage.database() as url:
        with _served(stage, url, [fleet]) as run:
            run.do("collect", _hours(0, 2), [fleet.name])
        with psycopg.connect(url) as connection:
            started, count = time.perf_counter(), 0
            with connection.cursor().copy(
                "copy (select * from billing_core.facts) to stdout (format binary)"
            ) as copy:
                for block in copy:
                    count += len(block)
            seconds = time.perf_counter() - started
            cold = cold_fact_bytes(connection)
    return {
        "fact_bytes": dense,
        "sparse_fact_bytes": sparse,
        "cold_fact_bytes": cold,
        "copy_facts_per_second": 2 * fleet.samples_per_hour / seconds,
    }


def machine(stage: Stage) -> Costs:
    """Settings of many sources, an empty question to the database, and the disk."""
    environment = _many_sources(_CONFIGURED)
    started = time.process_time()
    Settings.from_environment(environment)
    return {
        "configured_source": Cost(worker_seconds=(time.process_time() - started) / _CONFIGURED),
        "round_trip_seconds": _round_trip_seconds(stage),
        "log_bytes_per_second": _log_bytes_per_second(stage),
    }


def _round_trip_seconds(stage: Stage) -> float:
    """The median: on a machine that does other things, too, the mean is theirs."""
    times = []
    with psycopg.connect(stage.postgres.url("migrated"), autocommit=True) as connection:
        for _ in range(_ROUND_TRIPS):
            started, started_cpu = time.perf_counter(), time.process_time()
            connection.execute("select")
            times.append(time.perf_counter() - started - (time.process_time() - started_cpu))
    return sorted(times)[len(times) // 2]


def _log_bytes_per_second(stage: Stage) -> float:
    path = stage.directory / "log"
    block = os.urandom(1024 * 1024)
    started = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(_LOG_BYTES // len(block)):
            file.write(block)
        file.flush()
        os.fdatasync(file.fileno())
    seconds = time.perf_counter() - started
    path.unlink()
    return _LOG_BYTES / seconds


# --- helpers ------------------------------------------------------------------------------------


PARTS: Final[dict[str, Callable[[Stage], Costs]]] = {
    "source-hours": source_hours,
    "partitions": partitions,
    "waiting": waiting,
    "delivery": delivery,
    "storage": stored_facts,
    "machine": machine,
    "airflow": airflow_costs.measure,
}


def _many_sources(count: int) -> dict[str, str]:
    """Settings with so many sources that nobody asks."""
    sources = [
        {"source_id": f"source-{at:05}", "base_url": f"https://exporter-{at:05}.example.com:8443"}
        for at in range(count)
    ]
    return {"EXPORTER_SOURCES_JSON": json.dumps(sources), "INTERNAL_SERVICE_TOKEN": "t"}


def _numbers(at: int) -> range:
    """Accounts of a large source; no two share one."""
    return range(10_000 + at * _ACCOUNTS, 10_000 + (at + 1) * _ACCOUNTS)


def _hours(first: int, after: int | None = None) -> HourRange:
    """Hours of the day, counted from its first; one without the second number."""
    return HourRange(
        Hour(FIRST.index + first), Hour(FIRST.index + (first + 1 if after is None else after))
    )


@contextmanager
def _served(
    stage: Stage,
    url: str,
    fleets: list[Fleet],
    hours: HourRange | None = None,
    *,
    settings: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Ground]:
    """A pipeline process whose sources have data for the hours, four of them if not told."""
    for fleet in fleets:
        fleet.serve(list(hours or _hours(0, 4)))
    with ground(stage, url, fleets, settings=settings, variables=variables) as run:
        yield run
