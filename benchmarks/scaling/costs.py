"""What one unit of each kind of work costs, as measured; stored as JSON with date and machine."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

STORED: Final = Path(__file__).with_name("unit_costs.json")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a unit of work uses, wherever it runs.

    Attributes:
        worker_seconds: CPU of the pipeline's process.
        database_seconds: CPU of PostgreSQL, its background processes included.
        exporter_seconds: CPU of the exporter; counts only where it shares the machine.
        wal_bytes: written ahead by PostgreSQL.
        wait_seconds: in which nobody works: the disk at a commit, the other side of S3.
    """

    worker_seconds: float = 0.0
    database_seconds: float = 0.0
    exporter_seconds: float = 0.0
    wal_bytes: float = 0.0
    wait_seconds: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(a + b for a, b in zip(self.values, other.values, strict=True)))

    def __sub__(self, other: "Cost") -> "Cost":
        return self + other * -1

    def __mul__(self, times: float) -> "Cost":
        return Cost(*(times * value for value in self.values))

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(getattr(self, each.name) for each in fields(self))

    @property
    def cpu_seconds(self) -> float:
        return self.worker_seconds + self.database_seconds + self.exporter_seconds

    @property
    def alone_seconds(self) -> float:
        """How long it takes where nothing else runs, one thing after the other."""
        return self.cpu_seconds + self.wait_seconds

    def at_least_zero(self) -> "Cost":
        """A difference of two measured costs; below zero is noise."""
        return Cost(*(max(0.0, value) for value in self.values))


@dataclass(frozen=True, slots=True)
class UnitCosts:
    """The unit costs. Each is one unit's own: what others cost is taken out of it.

    Attributes:
        connection: one more connection to the database, with a run record of its own: what a task
            has beside its source-hours.
        source_hour: one source-hour of any size, without what it does under the rating lock.
        samples_1000, facts_1000: of a source-hour, per 1,000 samples read and facts written.
        stored_days_100: what a source-hour takes more per 100 days of partitions before it.
        again: one source-hour that is collected again without a change.
        samples_again_1000: of it, per 1,000 samples.
        locked: what a source-hour does under the rating lock, to the end of its commit.
        locked_account_hours_1000: of it, per 1,000 account-hours that are rated.
        plan_source: finding the open hours of one source, before the tasks begin.
        plan_source_connected: the same on a connection that is there already.
        rate_facts_1000, rate_account_hours_1000: rating in `rate`, where several sources serve the
            accounts.
        rate_run: one `rate` that finds nothing to do.
        events_1000: sealing, per 1,000 events.
        object: sealing and sending, per object.
        reconciled_hour: the six checks of one hour, per source.
        reconciled_samples_1000, reconciled_facts_1000: of them, per 1,000 samples and facts.
        configured_source: reading the settings, per source in them: every task does.
        scheduled_task: CPU of Airflow's scheduler per task, in one process.
        task_calls: CPU of Airflow's API server and database per task.
        task_process: CPU of a task's own process that does nothing.
        task_imports: CPU of the same process to import the pipeline.
        round_trip_seconds: one question to a database on the same machine, beside all CPU.
        round_trips, locked_round_trips: of a source-hour; the latter under the rating lock.
        requests: to the exporter per source-hour.
        log_bytes_per_second: what the disk takes when it must really be on it.
        fact_bytes: on disk per fact, all tables and indexes, every series active.
        sparse_fact_bytes: the same where one series in ten is active.
        cold_fact_bytes: of a fact as compressed columns, for storage that is only read.
        copy_facts_per_second: facts read out of the database, as a logical backup does.
    """

    connection: Cost
    source_hour: Cost
    samples_1000: Cost
    facts_1000: Cost
    stored_days_100: Cost
    again: Cost
    samples_again_1000: Cost
    locked: Cost
    locked_account_hours_1000: Cost
    plan_source: Cost
    plan_source_connected: Cost
    rate_facts_1000: Cost
    rate_account_hours_1000: Cost
    rate_run: Cost
    events_1000: Cost
    object: Cost
    reconciled_hour: Cost
    reconciled_samples_1000: Cost
    reconciled_facts_1000: Cost
    configured_source: Cost
    scheduled_task: Cost
    task_calls: Cost
    task_process: Cost
    task_imports: Cost
    round_trip_seconds: float
    round_trips: float
    locked_round_trips: float
    requests: float
    log_bytes_per_second: float
    fact_bytes: float
    sparse_fact_bytes: float
    cold_fact_bytes: float
    copy_facts_per_second: float


def as_json(costs: UnitCosts) -> dict[str, Any]:
    return asdict(costs)


def from_json(stored: Mapping[str, Any]) -> UnitCosts:
    values: dict[str, Any] = {
        each.name: Cost(**stored[each.name])
        if isinstance(stored[each.name], dict)
        else float(stored[each.name])
        for each in fields(UnitCosts)
    }
    return UnitCosts(**values)


def load(path: Path = STORED) -> tuple[UnitCosts, dict[str, Any]]:
    """The stored costs, and when and where they were measured."""
    document = json.loads(path.read_text("utf-8"))
    return from_json(document.pop("costs")), document


def store(costs: UnitCosts, about: Mapping[str, Any], path: Path = STORED) -> None:
    path.write_text(json.dumps({**about, "costs": as_json(costs)}, indent=1) + "\n", "utf-8")
