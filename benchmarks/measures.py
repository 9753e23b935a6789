"""What a row of the benchmark gives: values, ratios, goals."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

Size: TypeAlias = Literal["full", "quick", "tiny"]


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound for a median."""

    kind: Literal["at least", "at most"]
    bound: float

    def met_by(self, median: float) -> bool:
        return median >= self.bound if self.kind == "at least" else median <= self.bound


def at_least(bound: float) -> Goal:
    return Goal("at least", bound)


def at_most(bound: float) -> Goal:
    return Goal("at most", bound)


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the table.

    Attributes:
        values: one per repetition.
        ratios: to what it is compared with, one per repetition in which both ran.
        goal, ratio_goal: for the medians of values and of ratios.
        cpu_seconds: mean CPU seconds of a run, by who used them.
        scaled: how the work was made smaller than the issue's; empty: it was not.
    """

    name: str
    unit: str
    values: Sequence[float]
    ratios: Sequence[float] = ()
    goal: Goal | None = None
    ratio_goal: Goal | None = None
    note: str = ""
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    scaled: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def ratio(self) -> float | None:
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def met(self) -> bool | None:
        """Whether all its goals are met; None without a goal."""
        verdicts = []
        if self.goal is not None:
            verdicts.append(self.goal.met_by(self.median))
        if self.ratio_goal is not None and self.ratio is not None:
            verdicts.append(self.ratio_goal.met_by(self.ratio))
        return all(verdicts) if verdicts else None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"median": self.median, "ratio": self.ratio, "met": self.met}
