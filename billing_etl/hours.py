"""UTC instants, minutes and hours.

Three integer clocks are used throughout, all counted from 1970-01-01T00:00:00Z:

* ``*_ns``: an instant in nanoseconds (exporters serve up to nine fractional digits; C1, C3);
* ``minute``: whole minutes, the grain of a fact (C8);
* ``Hour``: whole hours, the unit of running, replaying and delivering.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from billing_etl.errors import UsageError

NS_PER_SECOND: Final = 1_000_000_000
NS_PER_MINUTE: Final = 60 * NS_PER_SECOND
NS_PER_HOUR: Final = 60 * NS_PER_MINUTE
MINUTES_PER_HOUR: Final = 60

# A thousand years: minutes stay within int4, instants may then still be moved by days.
_END_OF_HOURS: Final = 1000 * 365 * 24
END_OF_MINUTES: Final = _END_OF_HOURS * MINUTES_PER_HOUR
# Years whose days, and the billing periods that start in them, lie within these hours.
_YEARS: Final = range(1970, 2969)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_LABEL: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}", re.ASCII)
_INSTANT: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9})\d*)?"
    r"(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, order=True)
class Hour:
    """The half-open UTC hour ``[start, end)``; ``index`` counts hours since 1970."""

    index: int

    @classmethod
    def of(cls, instant: datetime) -> "Hour":
        """The hour that contains a timezone-aware instant."""
        return cls(int((instant - _EPOCH) // timedelta(hours=1)))

    @property
    def start(self) -> datetime:
        return _EPOCH + timedelta(hours=self.index)

    @property
    def end(self) -> datetime:
        return self.next.start

    @property
    def start_ns(self) -> int:
        return self.index * NS_PER_HOUR

    @property
    def end_ns(self) -> int:
        return (self.index + 1) * NS_PER_HOUR

    @property
    def first_minute(self) -> int:
        return self.index * MINUTES_PER_HOUR

    @property
    def next(self) -> "Hour":
        return Hour(self.index + 1)

    @property
    def previous(self) -> "Hour":
        return Hour(self.index - 1)

    def __str__(self) -> str:
        return self.start.strftime("%Y-%m-%dT%H")


@dataclass(frozen=True, slots=True)
class HourRange:
    """Hours from ``start`` (inclusive) to ``end`` (exclusive), oldest first."""

    start: Hour
    end: Hour

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise UsageError(
                f"hours: --to {self.end} is not after --from {self.start}; "
                "ranges are half-open, so one hour is --from 2026-04-08T12 --to 2026-04-08T13"
            )

    @classmethod
    def single(cls, hour: Hour) -> "HourRange":
        return cls(hour, hour.next)

    def begun(self, now: datetime, *, within_hours: int = 0) -> "HourRange":
        """The same range, once its last hour has begun; the running hour has.

        Asked where a person or a caller names hours. An exporter whose clock is ahead changes
        nothing: what it serves of the next hour is collected with that hour.

        Args:
            now: the wall clock of this machine, with its offset.
            within_hours: those that begin so soon are taken, too.

        Raises:
            UsageError: an hour of the range lies ahead.
        """
        latest = Hour(Hour.of(now).next.index + within_hours)
        if self.end > latest:
            soon = f" or do within {within_hours} hours" if within_hours else ""
            raise UsageError(
                f"hours: expected hours that have begun{soon}, so an end of at most {latest}, got "
                f"{self}; it is {now.astimezone(UTC):%Y-%m-%dT%H:%MZ} here"
            )
        return self

    def __iter__(self) -> Iterator[Hour]:
        return (Hour(index) for index in range(self.start.index, self.end.index))

    def __len__(self) -> int:
        return self.end.index - self.start.index

    def __str__(self) -> str:
        return f"[{self.start}, {self.end})"


def hour_ranges(hours: Iterable[Hour]) -> list[HourRange]:
    """The same hours as the fewest ranges, oldest first."""
    ranges: list[HourRange] = []
    for hour in sorted(set(hours)):
        if ranges and ranges[-1].end == hour:
            ranges[-1] = HourRange(ranges[-1].start, hour.next)
        else:
            ranges.append(HourRange.single(hour))
    return ranges


def parse_hour(text: str) -> Hour:
    """Reads ``2026-04-08T12`` or an RFC 3339 instant on a whole hour (any offset).

    Raises:
        UsageError: the text is neither, or the instant is not on a whole UTC hour.
    """
    expected = "expected a UTC hour such as 2026-04-08T12 or 2026-04-08T12:00:00Z"
    try:
        instant_ns = parse_instant_ns(f"{text}:00:00Z" if _HOUR_LABEL.fullmatch(text) else text)
    except ValueError:
        raise UsageError(f"hours: {expected}, got {text!r}") from None
    if instant_ns % NS_PER_HOUR:
        raise UsageError(f"hours: {expected}, got {text!r}, which is not on a whole hour")
    index = instant_ns // NS_PER_HOUR
    if not 0 <= index < _END_OF_HOURS:
        raise UsageError(f"hours: expected an hour between 1970 and 2970, got {text!r}")
    return Hour(index)


def parse_date(text: str, form: str) -> datetime:
    """Reads a day or a month as its first instant.

    Args:
        text: such as ``2026-04-08`` or ``2026-04``.
        form: what ``strptime`` reads: ``%Y-%m-%d`` or ``%Y-%m``.

    Raises:
        ValueError: the text is none, or lies outside of the years that hours are counted in.
    """
    date = datetime.strptime(text, form).replace(tzinfo=UTC)
    if date.year not in _YEARS:
        raise ValueError(f"not a year from {_YEARS[0]} to {_YEARS[-1]}: {text!r}")
    return date


def parse_instant_ns(text: str) -> int:
    """Reads an RFC 3339 instant exactly, to the nanosecond; further digits are cut off.

    ``datetime`` keeps six digits only, exporters serve nine (exporter contract, point 6).

    Raises:
        ValueError: the text is not an RFC 3339 instant with an offset.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise ValueError(f"not an RFC 3339 instant: {text!r}")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, sign, offset_hours, offset_minutes = match.groups()[6:]
    leap_second = second == 60  # RFC 3339 allows it; it is read as the next second
    moment = datetime(year, month, day, hour, minute, 59 if leap_second else second, tzinfo=UTC)
    seconds = int((moment - _EPOCH) // timedelta(seconds=1)) + leap_second
    if sign:
        offset = int(offset_hours) * 3600 + int(offset_minutes) * 60
        seconds += -offset if sign == "+" else offset
    return seconds * NS_PER_SECOND + int((fraction or "").ljust(9, "0"))


def format_instant_ns(instant_ns: int) -> str:
    """RFC 3339 in UTC, with nine digits only when the instant has a fraction."""
    seconds, fraction = divmod(instant_ns, NS_PER_SECOND)
    text = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:09d}Z" if fraction else f"{text}Z"


def minute_start(minute: int) -> datetime:
    """The first instant of a minute counted from 1970."""
    return _EPOCH + timedelta(minutes=minute)
