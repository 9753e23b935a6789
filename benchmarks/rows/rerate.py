"""Rating a month of one account again after an hour at its beginning came late."""

from dataclasses import dataclass
from typing import Final

from benchmarks.checks import check
from benchmarks.measures import Measure, Size, at_most
from benchmarks.stage import Run, Stage, Worker, environment, mean_cpu_seconds
from benchmarks.worlds import Fleet
from billing_etl.hours import Hour, parse_hour

MONTH_FROM: Final = parse_hour("2025-04-01T00")
_ACCOUNT: Final = 1
# Two series move about 120 MB an hour: used up in the middle of what is stored.
_QUOTA_BYTES_PER_HOUR: Final = 60_000_000


@dataclass(frozen=True, slots=True)
class _Scale:
    days: int
    late_hours: int
    scaled: str = ""


_SCALES: Final[dict[Size, _Scale]] = {
    "full": _Scale(30, 7),
    "quick": _Scale(7, 3, "7 days instead of a month"),
    "tiny": _Scale(1, 1, "1 day instead of a month"),
}


def measure(stage: Stage, size: Size) -> list[Measure]:
    scale = _SCALES[size]
    fleet = Fleet(stage.worlds, "rerate", [_ACCOUNT])
    hours = [Hour(MONTH_FROM.index + number) for number in range(24 * scale.days)]
    fleet.serve(hours)
    quota_bytes = _QUOTA_BYTES_PER_HOUR * len(hours)
    sources = [stage.source(fleet)]
    runs: list[Run] = []
    with stage.database() as url:
        with Worker(environment(url, sources, quota_bytes)) as worker:
            worker.ask([fleet.name], hours[scale.late_hours :])
        for late in reversed(hours[: scale.late_hours]):
            with Worker(environment(url, sources, quota_bytes)) as worker:
                worker.ask([fleet.name], [late], rate=False)
                stage.settle()
                runs.append(stage.measured(worker, [], [late]))
        check(url, fleet.expected, quota_bytes)
    return [
        Measure(
            f"rating {scale.days} days of one account again",
            "s",
            [run.seconds for run in runs],
            goal=at_most(1.0),
            note=f"2 series, {fleet.expected.facts:,} facts",
            cpu_seconds=mean_cpu_seconds(runs),
            scaled=scale.scaled,
        )
    ]
