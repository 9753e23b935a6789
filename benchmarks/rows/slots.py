"""Fifty sources in one hour, whose exporters answer after 200 ms, on one, two and four slots."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from benchmarks.checks import check, count_is
from benchmarks.measures import Measure, Size, at_least
from benchmarks.rows.hour import HOUR
from benchmarks.stage import Stage, Worker, environment
from benchmarks.worlds import Expected, Fleet

SLOTS: Final = (1, 2, 4)
DELAY_MS: Final = 200
_ACCOUNTS: Final = 17  # x 2 inbounds x 60 minutes: 2,040 samples


@dataclass(frozen=True, slots=True)
class _Scale:
    sources: int
    repetitions: int
    delay_ms: int = DELAY_MS
    scaled: str = ""


_SCALES: Final[dict[Size, _Scale]] = {
    "full": _Scale(50, 3),
    "quick": _Scale(12, 1, scaled="12 sources"),
    "tiny": _Scale(4, 1, 10, "4 sources, 10 ms"),
}


def measure(stage: Stage, size: Size) -> list[Measure]:
    scale = _SCALES[size]
    # Every source has accounts of its own, as in the other rows with one source.
    fleets = [
        Fleet(
            stage.worlds,
            f"slots-{number:02}",
            range(number * _ACCOUNTS, (number + 1) * _ACCOUNTS),
        )
        for number in range(scale.sources)
    ]
    for fleet in fleets:
        fleet.serve([HOUR])
    rates: dict[int, list[float]] = {slots: [] for slots in SLOTS}
    for _ in range(scale.repetitions):
        for slots in SLOTS:
            rates[slots].append(_samples_per_second(stage, fleets, slots, scale.delay_ms))
    best = [max(two, four) for two, four in zip(rates[2], rates[4], strict=True)]
    shown: list[tuple[str, Sequence[float]]] = [
        (f"{scale.sources} sources, 1 slot", rates[1]),
        (f"{scale.sources} sources, 2 slots / 1", rates[2]),
        (f"{scale.sources} sources, 4 slots / 1", rates[4]),
        ("best of 2 and 4 slots / 1", best),
    ]
    return [
        Measure(
            name,
            "samples/s",
            values,
            ratios=[]
            if values is rates[1]
            else [more / one for more, one in zip(values, rates[1], strict=True)],
            ratio_goal=at_least(1.5) if values is best else None,
            note=f"answers after {scale.delay_ms} ms" if values is rates[1] else "",
            scaled=scale.scaled,
        )
        for name, values in shown
    ]


def _samples_per_second(stage: Stage, fleets: Sequence[Fleet], slots: int, delay_ms: int) -> float:
    """Collects on so many processes at once, then rates what is left, as the DAG does."""
    sources = [stage.source(fleet, delay_ms) for fleet in fleets]
    names = [fleet.name for fleet in fleets]
    with stage.database() as url:
        with ExitStack() as stack:
            workers = [stack.enter_context(Worker(environment(url, sources))) for _ in range(slots)]
            stage.settle()
            started = time.perf_counter()
            for at, worker in enumerate(workers):
                worker.tell(names[at::slots], [HOUR], rate=False)
            samples = sum(int(worker.answer()["samples"]) for worker in workers)
            workers[0].ask([], [HOUR])
            seconds = time.perf_counter() - started
        count_is("samples", sum(fleet.samples_per_hour for fleet in fleets), samples)
        check(url, Expected.sum(fleet.expected for fleet in fleets))
    return samples / seconds
