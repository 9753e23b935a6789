"""Expected against actual: differences as data, and the words that state them.

Pure. A difference is actual minus expected throughout: positive means too much, negative means
missing. Sums are exact (R1).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
    """

    subject: str
    measure: str
    expected: Value
    actual: Value

    def __str__(self) -> str:
        text = f"{self.subject}: {self.measure} expected {_shown(self.expected)}, got "
        text += _shown(self.actual)
        if isinstance(self.expected, int | Decimal) and isinstance(self.actual, int | Decimal):
            text += f" ({Measure('', self.expected, self.actual)})".replace("( ", "(")
        return text


@dataclass(frozen=True, slots=True)
class Examination:
    """What one check saw of one hour.

    Attributes:
        measures: totals on both sides.
        differences: every single one; no difference in totals goes without one of these.
        notes: what a reader should know that is no difference, such as events that wait.
        skipped: the check has nothing to say about this hour, with the reason in ``notes``.
        to_repair: subjects that a repair may be tried for.
    """

    measures: tuple[Measure, ...] = ()
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: bool = False
    to_repair: tuple[str, ...] = ()

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
    """The stored result of one check of one hour. ``hour`` is its label, such as 2026-04-08T12."""

    hour: str
    check: str
    status: Status
    expected: str
    actual: str
    difference: str
    repaired: str = ""
    details: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def concluded(
    hour: str, check: str, examination: Examination, repairs: Iterable[str] = ()
) -> CheckResult:
    """The result of a check, after the repairs that were tried before it looked last."""
    repaired = "; ".join(repairs)
    status: Status
    if examination.skipped:
        status = "skipped"
    elif examination.differences:
        status = "different"
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
        to_repair=tuple(subject for part in parts for subject in part.to_repair),
    )


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


def _signed(difference: Decimal) -> str:
    direction = "more than expected" if difference > 0 else "less than expected"
    return f"{difference:+f}, {direction}" if difference else "0"
