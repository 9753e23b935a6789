"""How many sources each part can take before it is full, by arithmetic on the unit costs.

Full: the part needs more than an hour for an hour, or refuses.
"""

from dataclasses import dataclass, replace
from math import sqrt
from typing import Final

from benchmarks.scaling.costs import UnitCosts
from benchmarks.scaling.load import HourCosts, Load
from benchmarks.scaling.simulation import RECONCILED_HOURS

_HOUR_SECONDS: Final = 3600.0
_CORES: Final = 2
# Linux: most bytes of one variable of an environment, 32 pages.
_VARIABLE_BYTES: Final = 32 * 4096
# EXPORTER_SOURCES_JSON, per source: the entry of docs/configuration.md without its optional keys.
_ENTRY: Final = (
    '{"source_id": "jp-00001", "base_url": "https://exporter-00001.example.com:8443",'
    ' "token_env": "TOKEN_00001"}, '
)
_MAX_MAP_LENGTH: Final = 1024  # Airflow's default of core.max_map_length


@dataclass(frozen=True, slots=True)
class Limit:
    """A part that is full with so many sources, and why."""

    sources: float
    part: str
    why: str


def limits(costs: UnitCosts, load: Load) -> list[Limit]:
    """Soonest first; ``load.sources`` does not matter."""
    one = replace(load, sources=1)
    hour = HourCosts.of(costs, one)
    shared = HourCosts.of(costs, replace(one, sources_per_account=2))
    task, calls = costs.scheduled_task.worker_seconds, costs.task_calls.worker_seconds
    locked = hour.locked.alone_seconds + costs.locked_round_trips * costs.round_trip_seconds
    both = hour.source_hour + hour.started
    found = [
        Limit(_VARIABLE_BYTES / len(_ENTRY), "`EXPORTER_SOURCES_JSON`", "128 KiB a variable"),
        Limit(_MAX_MAP_LENGTH, "`collect.expand_kwargs`", "core.max_map_length"),
        _full(task, "Airflow's scheduler", "one process, a task per source"),
        _full(calls, "Airflow's API server", "one process, a task per source"),
        _full(
            hour.checked.alone_seconds * RECONCILED_HOURS,
            "`reconcile`",
            "72 hours, one source after the other",
        ),
        _full(hour.sealed.alone_seconds, "`export`", "one process seals and sends"),
        _full(hour.planned.alone_seconds, "`list_sources`", "one connection after the other"),
        _full(locked, "rating lock", "one source-hour after the other"),
        _full(
            both.worker_seconds / _CORES,
            "one worker of 2 cores",
            "a task per source",
            costs.configured_source.worker_seconds / _CORES,
        ),
        _full(
            hour.source_hour.worker_seconds / _CORES,
            "the same without tasks",
            "one process per core",
        ),
        _full(
            both.database_seconds / _CORES,
            "one database of 2 cores",
            "nothing else reads or writes",
        ),
        _full(hour.source_hour.wal_bytes / costs.log_bytes_per_second, "the log's disk", "WAL"),
        _full(
            shared.left.alone_seconds * replace(one, sources_per_account=2).account_hours,
            "`rate`",
            "one process; every account on two sources",
        ),
    ]
    return sorted(found, key=lambda limit: limit.sources)


def _full(seconds: float, part: str, why: str, more_seconds: float = 0.0) -> Limit:
    """Sources at which the part is busy all the hour.

    Args:
        seconds: that each takes.
        more_seconds: that each takes more for every one there is.
    """
    if more_seconds > 0:
        root = sqrt(seconds**2 + 4 * more_seconds * _HOUR_SECONDS)
        return Limit((root - seconds) / (2 * more_seconds), part, why)
    return Limit(_HOUR_SECONDS / max(seconds, 1e-9), part, why)
