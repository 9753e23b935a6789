"""An unhappy hour: late, duplicate, reset, missing and bad samples, and accounts on two sources."""

from benchmarks.checks import check, count_is
from benchmarks.measures import Measure, Size, at_least
from benchmarks.rows.hour import HOUR, HOUR_SCALES
from benchmarks.stage import Run, Stage, mean_cpu_seconds
from benchmarks.unhappy_world import UnhappySource
from benchmarks.worlds import Expected


def measure(stage: Stage, size: Size) -> list[Measure]:
    scale = HOUR_SCALES[size]
    worlds = [
        UnhappySource("unhappy-1", range(scale.accounts)),
        UnhappySource("unhappy-2", range(0, scale.accounts, 2)),
    ]
    for world in worlds:
        world.serve(stage.worlds, HOUR)
    sources = [stage.source_named(world.name) for world in worlds]
    counts = {
        what: sum(world.counts[what] for world in worlds)
        for what in ("samples", "duplicates", "quarantined", "late", "resets", "missing")
    }
    runs: list[Run] = []
    for _ in range(scale.repetitions):
        with stage.database() as url:
            runs.append(stage.run(url, sources, [HOUR]))
            count_is("samples", counts["samples"], runs[-1].samples)
            count_is("duplicates", counts["duplicates"], runs[-1].duplicates)
            count_is("bad samples", counts["quarantined"], runs[-1].quarantined)
            check(url, Expected.sum(world.expected for world in worlds))
    return [
        Measure(
            "unhappy hour, 2 sources",
            "samples/s",
            [run.samples_per_second for run in runs],
            goal=at_least(150_000),
            cpu_seconds=mean_cpu_seconds(runs),
            scaled=scale.scaled,
            details=counts,
        )
    ]
