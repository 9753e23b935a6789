"""A typical hour: one series in ten is active."""

from benchmarks.checks import check, count_is
from benchmarks.measures import Measure, Size, at_least
from benchmarks.rows.hour import HOUR, HOUR_SCALES
from benchmarks.stage import Run, Stage, mean_cpu_seconds
from benchmarks.worlds import Fleet


def measure(stage: Stage, size: Size) -> list[Measure]:
    scale = HOUR_SCALES[size]
    fleet = Fleet(stage.worlds, "typical", range(scale.accounts), active_of_ten=1)
    fleet.serve([HOUR.previous, HOUR])
    runs: list[Run] = []
    for _ in range(scale.repetitions):
        with stage.database() as url:
            stage.run(url, [stage.source(fleet)], [HOUR.previous])
            runs.append(stage.run(url, [stage.source(fleet)], [HOUR]))
            count_is("samples", fleet.samples_per_hour, runs[-1].samples)
            check(url, fleet.expected)
    return [
        Measure(
            "typical hour, 10% of series active",
            "samples/s",
            [run.samples_per_second for run in runs],
            goal=at_least(600_000),
            cpu_seconds=mean_cpu_seconds(runs),
            note="the hour before is known",
            scaled=scale.scaled,
        )
    ]
