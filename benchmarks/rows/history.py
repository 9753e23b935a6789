"""The same hours beside one day and beside sixty days of stored history.

The history is made by the pipeline itself, hour by hour: nothing of it can differ from what it
would be in a real database.
"""

from dataclasses import dataclass
from typing import Final

from benchmarks.checks import check, count_is
from benchmarks.measures import Measure, Size, at_most
from benchmarks.stage import Run, Stage, Worker, environment, mean_cpu_seconds
from benchmarks.worlds import Fleet
from billing_etl.hours import Hour, parse_hour

# The last day of a month: of its usage, thirty days are carried.
MEASURED_FROM: Final = parse_hour("2025-03-31T00")


@dataclass(frozen=True, slots=True)
class _Scale:
    accounts: int
    days: int
    hours_per_day: int
    repetitions: int
    scaled: str = ""


_SCALES: Final[dict[Size, _Scale]] = {
    "full": _Scale(167, 60, 24, 15),
    "quick": _Scale(167, 60, 1, 3, "one hour per stored day"),
    "tiny": _Scale(5, 2, 1, 1, "5 accounts, 2 days of one hour"),
}


def measure(stage: Stage, size: Size) -> list[Measure]:
    scale = _SCALES[size]
    fleet = Fleet(stage.worlds, "history", range(scale.accounts))
    sources = [stage.source(fleet)]
    with stage.database() as young, stage.database() as old:
        with (
            Worker(environment(young, sources)) as young_worker,
            Worker(environment(old, sources)) as old_worker,
        ):
            for days_ago in range(scale.days, 0, -1):
                if days_ago == 1:
                    forgotten = fleet.expected.copy()
                end = MEASURED_FROM.index - 24 * (days_ago - 1)
                hours = [Hour(index) for index in range(end - scale.hours_per_day, end)]
                fleet.serve(hours)
                old_worker.ask([fleet.name], hours)
                if days_ago == 1:
                    young_worker.ask([fleet.name], hours)
        pairs: list[tuple[Run, Run]] = []
        for number in range(scale.repetitions):
            hour = Hour(MEASURED_FROM.index + number)
            fleet.serve([hour])
            first = stage.run(young, sources, [hour])
            pairs.append((first, stage.run(old, sources, [hour])))
            for run in pairs[-1]:
                count_is("samples", fleet.samples_per_hour, run.samples)
        check(old, fleet.expected)
        check(young, fleet.expected.without(forgotten))
    rates = [[pair[at].samples_per_second for pair in pairs] for at in (0, 1)]
    return [
        Measure(
            f"hour of {fleet.samples_per_hour:,} samples at day 1",
            "samples/s",
            rates[0],
            cpu_seconds=mean_cpu_seconds([pair[0] for pair in pairs]),
            scaled=scale.scaled,
        ),
        Measure(
            f"time at day {scale.days} / at day 1",
            "samples/s",
            rates[1],
            ratios=[old_run.seconds / young_run.seconds for young_run, old_run in pairs],
            ratio_goal=at_most(1.15),
            cpu_seconds=mean_cpu_seconds([pair[1] for pair in pairs]),
            scaled=scale.scaled,
        ),
    ]
