"""Expected against actual: differences as data, and the words that state them.

Pure. A difference is actual minus expected throughout: positive means too much, negative means
missing. Sums are exact (R1).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Context, Decimal, Inexact
from typing import Any, Final, Literal, TypeAlias

Status: TypeAlias = Literal["clean", "repaired", "different", "skipped"]
Value: TypeAlias = int | Decimal | str | None

# Raises instead of rounding; a thousand digits hold any sum of amounts.
_EXACT: Final = Context(prec=1000, traps=[Inexact])
_DETAILS_KEPT: Final = 50


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of an hour on both sides, such as bytes or objects."""

    name: str
    expected: int | Decimal
    actual: int | Decimal

    @property
    def difference(self) -> Decimal:
        return _EXACT.subtract(Decimal(self.actual), Decimal(self.expected))

    def __str__(self) -> str:
        return f"{self.name} {_signed(self.difference)}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it must be.

    Attributes:
        subject: what differs: a series, an account, a source, an object.
        measure: in which respect.
        expected, actual: None: not there.
        needs_deep: only the bodies show it, so only a run that reads them proves that it is gone.
    """

    subject: str
    measure: str
    expected: Value
    actual: Value
    needs_deep: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What it is about; within a check of an hour, one difference of a key is enough."""
        return self.subject, self.measure

    @property
    def difference(self) -> str:
        """By how much and in which direction; of what is no number, in which way."""
        if isinstance(self.expected, int | Decimal) and isinstance(self.actual, int | Decimal):
            return _signed(Measure("", self.expected, self.actual).difference)
        if self.expected is None:
            return "not expected"
        return "missing" if self.actual is None else "other"

    def __str__(self) -> str:
        text = f"{self.subject}: {self.measure} expected {_shown(self.expected)}, got "
        text += _shown(self.actual)
        is_numeric = isinstance(self.expected, int | Decimal)
        if is_numeric and isinstance(self.actual, int | Decimal):
            text += f" ({self.difference})"
        return text

    def as_dict(self) -> dict[str, Any]:
        shown = {"expected": _text(self.expected), "actual": _text(self.actual)}
        return {
            "subject": self.subject,
            "measure": self.measure,
            **shown,
            "difference": self.difference,
        }


@dataclass(frozen=True, slots=True)
class Remedy:
    """A repair that may be tried.

    Attributes:
        subject: what the check's ``repair`` is given.
        action: what it does, in words that stand after "would".
        cures: the differences that must be gone afterwards.
    """

    subject: str
    action: str
    cures: tuple[Difference, ...]

    @property
    def wrong(self) -> str:
        """What was wrong, in one line."""
        more = f" (and {len(self.cures) - 1} more)" if len(self.cures) > 1 else ""
        return f"{self.cures[0]}{more}" if self.cures else ""


@dataclass(frozen=True, slots=True)
class Trial:
    """A remedy that was tried, and what came of it.

    Attributes:
        said: what the repair did, or why it could not.
        is_cured: whether what was wrong was gone when it was looked at again.
    """

    remedy: Remedy
    said: str
    is_cured: bool


@dataclass(frozen=True, slots=True)
class Examination:
    """What one check saw of one hour.

    Attributes:
        measures: totals on both sides.
        differences: every single one; no difference in totals goes without one of these.
        notes: what a reader should know that is no difference, such as events that wait.
        skipped: the check has nothing to say about this hour, with the reason in ``notes``.
        remedies: repairs that may be tried.
        proves: subjects that were looked at; no difference of theirs proves that there is none.
            None: everything of the hour was.
    """

    measures: tuple[Measure, ...] = ()
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: bool = False
    remedies: tuple[Remedy, ...] = ()
    proves: frozenset[str] | None = None

    def remedy_of(self, difference: Difference) -> Remedy | None:
        """The repair that is to cure a difference."""
        return next((each for each in self.remedies if difference in each.cures), None)

    @property
    def expected(self) -> str:
        return ", ".join(f"{measure.name} {measure.expected}" for measure in self.measures)

    @property
    def actual(self) -> str:
        return ", ".join(f"{measure.name} {measure.actual}" for measure in self.measures)

    @property
    def difference(self) -> str:
        """Measure and direction of what differs, ``none`` when nothing does."""
        if not self.differences:
            return "none"
        totals = [str(measure) for measure in self.measures if measure.difference]
        count = len(self.differences)
        return "; ".join([*totals, f"{count} in detail, first: {self.differences[0]}"])

    @property
    def details(self) -> list[str]:
        """One line per difference, bounded, then the notes."""
        lines = [str(difference) for difference in self.differences[:_DETAILS_KEPT]]
        if len(self.differences) > _DETAILS_KEPT:
            lines.append(f"and {len(self.differences) - _DETAILS_KEPT} more")
        return [*lines, *self.notes]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The stored result of one check of one hour. ``hour`` is its label, such as 2026-04-08T12.

    Attributes:
        details: one line per difference, bounded, then what a reader should know.
        repairable: what a repair would do about what differs.
        differences: the same differences, as data.
    """

    hour: str
    check: str
    status: Status
    expected: str
    actual: str
    difference: str
    repaired: str = ""
    details: list[str] = field(default_factory=list)
    repairable: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        document = {name: getattr(self, name) for name in self.__slots__}
        return document | {"differences": [each.as_dict() for each in self.differences]}


def tried(remedy: Remedy, said: str, after: Examination) -> Trial:
    """What a repair came to; a difference that cannot be looked at again is not cured."""
    left = {difference.key for difference in after.differences}
    is_cured = all(
        each.key not in left and (after.proves is None or each.subject in after.proves)
        for each in remedy.cures
    )
    return Trial(remedy, said, is_cured and not after.skipped)


def concluded(
    hour: str, check: str, examination: Examination, trials: Sequence[Trial] = ()
) -> CheckResult:
    """The result of a check, after the repairs that were tried before it looked last."""
    repaired = "; ".join(each.said for each in trials if each.is_cured)
    failures = tuple(f"repair failed: {each.said}" for each in trials if not each.is_cured)
    examination = replace(examination, notes=(*examination.notes, *failures))
    status: Status
    if examination.differences:
        status = "different"
    elif examination.skipped:
        status = "skipped"
    else:
        status = "repaired" if repaired else "clean"
    return CheckResult(
        hour,
        check,
        status,
        examination.expected,
        examination.actual,
        examination.difference,
        repaired,
        examination.details,
        [f"would {each.action}" for each in examination.remedies[:_DETAILS_KEPT]],
        list(examination.differences[:_DETAILS_KEPT]),
    )


def compare(
    measure: str, expected: Mapping[str, Value], actual: Mapping[str, Value]
) -> list[Difference]:
    """A difference for every subject whose values differ or that one side does not know."""
    return [
        Difference(subject, measure, expected.get(subject), actual.get(subject))
        for subject in sorted(expected.keys() | actual.keys())
        if expected.get(subject) != actual.get(subject)
    ]


def total(measure: str, expected: Iterable[Value], actual: Iterable[Value]) -> Measure:
    """Both sides summed, exactly; what is not there counts as zero."""
    return Measure(measure, _sum(expected), _sum(actual))


def together(parts: Sequence[Examination]) -> Examination:
    """Examinations of the parts of an hour as one; all have the same measures."""
    return Examination(
        measures=tuple(
            total(
                measure.name,
                (part.measures[position].expected for part in parts),
                (part.measures[position].actual for part in parts),
            )
            for position, measure in enumerate(parts[0].measures)
        ),
        differences=tuple(item for part in parts for item in part.differences),
        notes=tuple(note for part in parts for note in part.notes),
        skipped=all(part.skipped for part in parts),
        remedies=tuple(remedy for part in parts for remedy in part.remedies),
        proves=_all_proven([part.proves for part in parts]),
    )


def _all_proven(parts: Sequence[frozenset[str] | None]) -> frozenset[str] | None:
    """What all parts prove together; a part that proves all of its own adds nothing by name."""
    if all(part is None for part in parts):
        return None
    return frozenset(subject for part in parts for subject in part or ())


def _sum(values: Iterable[Value]) -> int | Decimal:
    result: int | Decimal = 0
    for value in values:
        if isinstance(value, int) and isinstance(result, int):
            result += value
        elif isinstance(value, int | Decimal):
            result = _EXACT.add(Decimal(result), Decimal(value))
    return result


def _shown(value: Value) -> str:
    return "nothing" if value is None else str(value)


def _text(value: Value) -> str | None:
    return None if value is None else str(value)


def _signed(difference: Decimal) -> str:
    direction = "more than expected" if difference > 0 else "less than expected"
    return f"{difference:+f}, {direction}" if difference else "0"
