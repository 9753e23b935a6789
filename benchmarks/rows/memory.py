"""Peak memory of the pipeline process, for a small hour and for ones that are much larger.

What is known of a series is held, samples are not: an hour of more samples takes no more memory,
one of more series a little.
"""

from dataclasses import dataclass
from typing import Final

from benchmarks.checks import check, count_is
from benchmarks.measures import Measure, Size, at_most
from benchmarks.rows.hour import HOUR
from benchmarks.stage import Run, Stage, mean_cpu_seconds
from benchmarks.worlds import Fleet

ACCOUNTS: Final = 2500
_MEGABYTE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _Scale:
    accounts: int
    larger: int
    repetitions: int
    scaled: str = ""


_SCALES: Final[dict[Size, _Scale]] = {
    "full": _Scale(ACCOUNTS, 20, 2),
    "quick": _Scale(ACCOUNTS, 4, 1, "large hours: 1,200,000 samples"),
    "tiny": _Scale(20, 2, 1, "20 accounts, large hours: 4,800 samples"),
}


def measure(stage: Stage, size: Size) -> list[Measure]:
    scale = _SCALES[size]
    accounts = range(scale.accounts)
    fleets = [
        Fleet(stage.worlds, "memory", accounts),
        Fleet(stage.worlds, "memory-often", accounts, snapshots=60 * scale.larger),
        Fleet(stage.worlds, "memory-wide", accounts, nodes=scale.larger),
    ]
    for fleet in fleets:
        fleet.serve([HOUR])
    runs: list[list[Run]] = [[] for _ in fleets]
    for _ in range(scale.repetitions):
        for fleet, of_fleet in zip(fleets, runs, strict=True):
            with stage.database() as url:
                of_fleet.append(stage.run(url, [stage.source(fleet)], [HOUR]))
                count_is("samples", fleet.samples_per_hour, of_fleet[-1].samples)
                check(url, fleet.expected)
    small, often, wide = ([run.peak_bytes / _MEGABYTE for run in of_fleet] for of_fleet in runs)
    series = [fleet.samples_per_hour // fleet.snapshots for fleet in fleets]
    return [
        Measure(
            f"peak memory, {fleets[0].samples_per_hour:,} samples",
            "MB",
            small,
            goal=at_most(200),
            cpu_seconds=mean_cpu_seconds(runs[0]),
            scaled="" if scale.accounts == ACCOUNTS else scale.scaled,
        ),
        Measure(
            f"peak memory, {fleets[1].samples_per_hour:,} samples",
            "MB",
            often,
            ratios=[more / less for more, less in zip(often, small, strict=True)],
            goal=at_most(200),
            ratio_goal=at_most(1.1),
            note=f"the same series, {scale.larger} times as often; {_rate(runs[1]):,.0f} samples/s",
            cpu_seconds=mean_cpu_seconds(runs[1]),
            scaled=scale.scaled,
        ),
        Measure(
            f"peak memory, {fleets[2].samples_per_hour:,} samples of {series[2]:,} series",
            "MB",
            wide,
            ratios=[more / less for more, less in zip(wide, small, strict=True)],
            goal=at_most(200),
            note=f"{scale.larger} nodes: the ratio is that of {series[2]:,} series to "
            f"{series[0]:,}; {_rate(runs[2]):,.0f} samples/s",
            cpu_seconds=mean_cpu_seconds(runs[2]),
            scaled=scale.scaled,
        ),
    ]


def _rate(runs: list[Run]) -> float:
    return sum(run.samples for run in runs) / sum(run.seconds for run in runs)
