"""Holds the model against real runs: the same sources, simulated and collected.

Everything shares the cores of this machine, in the simulation as in the run. Where other programs
use the machine too, the model gets the share that they leave; then CPU says more than the clock.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import psutil

from benchmarks.checks import check as check_result
from benchmarks.scaling.costs import UnitCosts
from benchmarks.scaling.ground import Ground, ground
from benchmarks.scaling.load import HourCosts, House, Load
from benchmarks.scaling.processes import cpu_seconds, machine_seconds
from benchmarks.scaling.services import object_store
from benchmarks.scaling.simulation import simulate
from benchmarks.stage import Stage
from benchmarks.worlds import Expected, Fleet
from billing_etl.hours import Hour, HourRange, parse_hour

HOUR: Final = parse_hour("2025-04-08T12")
SLOTS: Final = (1, 2, 4)
SMALL: Final = Load(accounts=17, answer_seconds=0.0, stored_hours=1)
# As little as a source can serve: what is left is the fixed cost.
_MOST_OTHERS: Final = 0.95
TINY: Final = Load(accounts=1, snapshots=6, answer_seconds=0.0, stored_hours=1)


@dataclass(frozen=True, slots=True)
class Compared:
    """One run, predicted and measured.

    Attributes:
        cpu: seconds of everybody who took part, predicted and measured.
        others: share of the machine that other programs used.
    """

    what: str
    predicted_seconds: float
    measured_seconds: float
    predicted_cpu_seconds: float
    measured_cpu_seconds: float
    others: float

    @property
    def ratio(self) -> float:
        return self.predicted_seconds / self.measured_seconds

    @property
    def cpu_ratio(self) -> float:
        return self.predicted_cpu_seconds / self.measured_cpu_seconds


def collected(
    stage: Stage, costs: UnitCosts, load: Load, slots: Sequence[int]
) -> Iterator[Compared]:
    """The second hour of the sources, collected and rated by so many processes."""
    fleets = _fleets(stage, load)
    print(f"{load.sources:,} sources are made ...", file=sys.stderr, flush=True)
    for fleet in fleets:
        fleet.serve([HOUR, HOUR.next])
    names = [fleet.name for fleet in fleets]
    expected = Expected.sum(fleet.expected for fleet in fleets)
    for count in slots:
        with stage.database() as url, ExitStack() as stack:
            processes = [stack.enter_context(ground(stage, url, fleets)) for _ in range(count)]
            started = time.perf_counter()
            _collect(processes, names, HOUR)
            seconds = time.perf_counter() - started
            print(f"first hour on {count} slots: {seconds:.0f} s", file=sys.stderr, flush=True)
            processes[0].rest()
            with _watched(stage) as watched:
                worker_seconds = _collect(processes, names, HOUR.next)
            check_result(url, expected)
        watched.cpu_seconds += worker_seconds
        house = House(
            slots=count,
            worker_cores=_cores(),
            sources_per_task=0,
            one_machine=True,
            speed=_speed(watched.others, count),
        )
        hour = HourCosts.of(costs, load)
        yield Compared(
            f"{load.sources:,} sources of {load.samples:,} samples, {count} slots",
            simulate(costs, load, house).billed_seconds,
            watched.seconds,
            hour.source_hour.cpu_seconds * load.sources + hour.rate_run.cpu_seconds,
            watched.cpu_seconds,
            watched.others,
        )


def delivered(stage: Stage, costs: UnitCosts, load: Load) -> Iterator[Compared]:
    """The same hour sealed, sent and reconciled by one process."""
    fleets = _fleets(stage, load)
    for fleet in fleets:
        fleet.serve([HOUR, HOUR.next])
    names = [fleet.name for fleet in fleets]
    hour = HourCosts.of(costs, load)
    with (
        object_store(stage) as (settings, keys),
        stage.database() as url,
        ground(stage, url, fleets, settings=settings, variables=keys) as process,
    ):
        _collect([process], names, HOUR)
        for step, cost in (("deliver", hour.sealed), ("reconcile", hour.checked)):
            with _watched(stage) as watched:
                done = process.do(step, HourRange.single(HOUR))
            predicted = cost * load.sources
            yield Compared(
                f"{step}, {load.sources:,} sources of {load.samples:,} samples",
                predicted.cpu_seconds / _speed(watched.others, 1) + predicted.wait_seconds,
                done.seconds,
                predicted.cpu_seconds,
                done.cost.cpu_seconds,
                watched.others,
            )


def _fleets(stage: Stage, load: Load) -> list[Fleet]:
    return [
        Fleet(
            stage.worlds,
            f"check-{load.samples}-{at:05}",
            range(at * load.accounts, (at + 1) * load.accounts),
            snapshots=load.snapshots,
        )
        for at in range(load.sources)
    ]


def _collect(processes: Sequence[Ground], names: Sequence[str], hour: Hour) -> float:
    """Each process takes its share of the sources, then one rates; their CPU seconds."""
    hours = HourRange.single(hour)
    for at, process in enumerate(processes):
        process.tell("collect", hours, names[at :: len(processes)])
    used = sum(process.answer()["worker_seconds"] for process in processes)
    processes[0].tell("rate", hours)
    return float(used + processes[0].answer()["worker_seconds"])


@dataclass(slots=True)
class _Watched:
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    others: float = 0.0


@contextmanager
def _watched(stage: Stage) -> Iterator[_Watched]:
    """How long the block takes, what the services use, and what share others use meanwhile."""
    watched = _Watched()
    services = sum(stage.cpu_seconds().values())
    ours, everybody = sum(cpu_seconds(psutil.Process())), machine_seconds()
    started = time.perf_counter()
    yield watched
    watched.seconds = time.perf_counter() - started
    watched.cpu_seconds = sum(stage.cpu_seconds().values()) - services
    others = machine_seconds() - everybody - (sum(cpu_seconds(psutil.Process())) - ours)
    share = others / (_cores() * watched.seconds)
    watched.others = min(_MOST_OTHERS, max(0.0, share))


def _speed(others: float, processes: int) -> float:
    """How fast each of so many processes can be on the cores that others leave."""
    return min(1.0, _cores() * (1 - others) / min(processes, _cores()))


def _cores() -> int:
    return len(os.sched_getaffinity(0))
