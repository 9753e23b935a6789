"""The chain of totals from counters to delivered bytes, and the digest over its inputs.

Pure. Numbers of an hour go by name; a link of the chain says which sums must be equal. A
difference is the later number minus the earlier one: positive means too much, negative means
missing. Sums are exact (R1). Recipe and meaning: docs/statement.md.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact
from typing import Any, Final, TypeAlias

Number: TypeAlias = int | Decimal
Numbers: TypeAlias = Mapping[str, Number]

# Raises instead of rounding; a thousand digits hold any sum of amounts.
_EXACT: Final = Context(prec=1000, traps=[Inexact])


@dataclass(frozen=True, slots=True)
class Link:
    """Two sums that must be equal.

    Attributes:
        name: stable.
        left, right: names of the numbers that are added up on each side.
        left_text, right_text: the same for people.
        differs: number of series or accounts that differ; they may, though their totals do not.
        subjects: what that number counts.
    """

    name: str
    left: tuple[str, ...]
    left_text: str
    right: tuple[str, ...]
    right_text: str
    differs: str | None = None
    subjects: str = ""


_EVENTS = ("delivered_events", "undelivered_events")
_OBJECTS = ("delivered_objects", "undelivered_objects")
_BYTES = ("delivered_bytes", "undelivered_bytes")

LINKS: Final[tuple[Link, ...]] = (
    Link(
        "snapshots", ("snapshots",), "snapshots of source-hours",
        ("stored_snapshots",), "snapshots stored one by one",
    ),
    Link(
        "samples", ("samples",), "samples fetched",
        ("stored_samples",), "samples of the stored snapshots",
    ),
    Link(
        "use of samples", ("samples",), "samples fetched",
        ("used", "duplicates", "baselines", "quarantined"),
        "used + duplicates + baselines + quarantined",
    ),
    Link(
        "quarantine", ("quarantined",), "samples quarantined",
        ("stored_quarantined",), "samples in quarantine",
    ),
    Link(
        "uplink", ("counted_uplink",), "last - predecessor + before resets, up",
        ("fact_uplink",), "uplink bytes of facts", "uplink_differs", "series",
    ),
    Link(
        "downlink", ("counted_downlink",), "last - predecessor + before resets, down",
        ("fact_downlink",), "downlink bytes of facts", "downlink_differs", "series",
    ),
    Link(
        "account-hours", ("fact_uplink", "fact_downlink"), "bytes of facts",
        ("account_quantity",), "bytes of account-hours", "quantity_differs", "accounts",
    ),
    Link(
        "included", ("fact_included",), "included bytes of facts",
        ("account_included",), "included bytes of account-hours", "included_differs", "accounts",
    ),
    Link(
        "split", ("fact_uplink", "fact_downlink"), "bytes of facts",
        ("account_included", "ledger_rated", "unrated_quantity"),
        "included + rated by ledger + not rated yet", "split_differs", "accounts",
    ),
    Link(
        "amount", ("fact_amount",), "amount of rated facts",
        ("account_amount",), "amount of account-hours", "amount_differs", "accounts",
    ),
    Link(
        "ledger", ("account_amount",), "amount of account-hours",
        ("ledger_amount",), "net of ledger entries", "ledger_differs", "accounts",
    ),
    Link(
        "events", ("sealed_revisions",), "revisions of sealed facts",
        _EVENTS, "events sealed",
    ),
    Link(
        "usage", ("fact_uplink", "fact_downlink"), "bytes of facts",
        ("event_quantity", "unsealed_quantity"), "net usage of events + not sealed yet",
    ),
)  # fmt: skip
DELIVERY: Final[tuple[Link, ...]] = (
    Link("delivered events", _EVENTS, "events sealed", _EVENTS[:1], "events delivered"),
    Link("delivered objects", _OBJECTS, "objects sealed", _OBJECTS[:1], "objects delivered"),
    Link("delivered bytes", _BYTES, "bytes sealed", _BYTES[:1], "bytes delivered"),
)
"""What is sealed and not delivered yet is no imbalance: it is pending."""


@dataclass(frozen=True, slots=True)
class Step:
    """One link with its two numbers. ``differing``: subjects that differ."""

    link: Link
    left: Number
    right: Number
    differing: int

    @property
    def difference(self) -> Number:
        return _minus(self.right, self.left)

    @property
    def is_balanced(self) -> bool:
        return not self.difference and not self.differing

    def __str__(self) -> str:
        """The difference in words."""
        left, right = stated(self.left), stated(self.right)
        text = f"{self.link.name}: {self.link.left_text} {left}, {self.link.right_text} {right}"
        text += f", difference {signed(self.difference)}"
        return text + (f", {self.differing} {self.link.subjects} differ" if self.differing else "")

    def as_dict(self) -> dict[str, Any]:
        return {
            "link": self.link.name,
            "left": self.link.left_text,
            "left_value": stated(self.left),
            "right": self.link.right_text,
            "right_value": stated(self.right),
            "difference": stated(self.difference),
            "differing": self.differing,
        }


def chain(numbers: Numbers, links: Sequence[Link] = LINKS) -> list[Step]:
    """Every link with its two numbers; a number that is not there counts as zero."""
    return [
        Step(
            link,
            total(numbers.get(name, 0) for name in link.left),
            total(numbers.get(name, 0) for name in link.right),
            int(numbers.get(link.differs, 0)) if link.differs else 0,
        )
        for link in links
    ]


def added(parts: Iterable[Numbers]) -> dict[str, Number]:
    """Numbers of several hours as those of their span."""
    sums: dict[str, Number] = {}
    for part in parts:
        for name, value in part.items():
            sums[name] = total((sums.get(name, 0), value))
    return sums


def total(values: Iterable[Number]) -> Number:
    """An exact sum; an int while all are."""
    result: Number = 0
    for value in values:
        if isinstance(value, int) and isinstance(result, int):
            result += value
        else:
            result = _EXACT.add(Decimal(result), Decimal(value))
    return result


def stated(value: Number) -> int | str:
    """A number as a document states it: whole numbers as they are, amounts as text, exactly."""
    if isinstance(value, int):
        return value
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def read(value: int | str) -> Number:
    """A number that a document states."""
    return value if isinstance(value, int) else Decimal(value)


def signed(difference: Number) -> str:
    """A difference with its direction; no sign where there is none."""
    return f"+{stated(difference)}" if difference > 0 else str(stated(difference))


def _minus(now: Number, before: Number) -> Number:
    if isinstance(now, int) and isinstance(before, int):
        return now - before
    return _EXACT.subtract(Decimal(now), Decimal(before))


# --- digest ----------------------------------------------------------------------------------

INPUTS: Final = (
    "source_hours", "node_instants", "closings", "counter_resets", "usage_gaps", "quarantine",
    "facts", "rates", "account_hours", "ledger_entries", "batches", "sealed_facts",
)  # fmt: skip
"""Tables that go into the digest of an hour, in this order."""

APPEND_ONLY: Final = frozenset({"ledger_entries", "batches"})
"""Those whose signed rows stay as they are, whatever is appended."""


@dataclass(frozen=True, slots=True)
class Digest:
    """Rows of one table in one hour, and the SHA-256 over them in hexadecimal."""

    rows: int
    sha256: str


Inputs: TypeAlias = Mapping[str, Mapping[str, Digest]]
"""Digests by hour label and table."""


def hour_digest(tables: Mapping[str, Digest]) -> str:
    """The digest over the tables of an hour."""
    return _listed((name, tables[name].sha256) for name in INPUTS)


def root_of(inputs: Inputs) -> str:
    """The digest over all hours of a statement, oldest first."""
    return _listed((hour, hour_digest(tables)) for hour, tables in sorted(inputs.items()))


def _listed(digests: Iterable[tuple[str, str]]) -> str:
    """SHA-256 over lines as sha256sum prints them."""
    text = "".join(f"{digest}  {name}\n" for name, digest in digests)
    return hashlib.sha256(text.encode()).hexdigest()


# --- what changed since signing ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TableChange:
    """A table of an hour that is not as it was signed.

    ``is_kept``: of an append-only table, whether the signed rows are still the first ones.
    """

    table: str
    signed_rows: int
    rows: int
    is_kept: bool

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class HourChange:
    """An hour that is not as it was signed.

    Attributes:
        tables: those that changed.
        numbers: name, signed and present value of every number that differs.
        records: what was recorded since signing: runs, ledger entries, events.
        problems: what the records do not explain; empty: all is explained.
    """

    hour: str
    tables: tuple[TableChange, ...]
    numbers: tuple[tuple[str, Number, Number], ...]
    records: tuple[str, ...]
    problems: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "hour": self.hour,
            "tables": [table.as_dict() for table in self.tables],
            "numbers": [
                {
                    "number": name,
                    "signed": stated(before),
                    "now": stated(now),
                    "difference": stated(_minus(now, before)),
                }
                for name, before, now in self.numbers
            ],
            "records": list(self.records),
            "explained": not self.problems,
            "problems": list(self.problems),
        }


def table_changes(
    before: Mapping[str, Digest], now: Mapping[str, Digest], kept: Mapping[str, bool]
) -> tuple[TableChange, ...]:
    """Tables of an hour that differ. ``kept``: by table, for those that are append-only."""
    return tuple(
        TableChange(name, before[name].rows, now[name].rows, kept.get(name, True))
        for name in INPUTS
        if before[name] != now[name]
    )


def hour_change(
    hour: str,
    tables: tuple[TableChange, ...],
    before: Numbers,
    now: Numbers,
    records: Sequence[str],
) -> HourChange:
    """Judges a changed hour.

    A change is explained when what was signed of append-only tables still stands, every link of
    the chain is balanced with what was appended, and something was recorded since signing.
    """
    changed = {table.table for table in tables}
    problems = [
        f"{table.table}: the {table.signed_rows} signed rows are not as they were signed"
        for table in tables
        if not table.is_kept
    ]
    if "rates" in changed and "facts" not in changed:
        problems.append("rates: a rate or price version is not as it was signed")
    problems += [str(step) for step in chain(now) if not step.is_balanced]
    if not records:
        problems.append("nothing recorded since signing explains it")
    numbers = tuple(
        (name, before.get(name, 0), now.get(name, 0))
        for name in sorted(before.keys() | now.keys())
        if before.get(name, 0) != now.get(name, 0)
    )
    return HourChange(hour, tables, numbers, tuple(records), tuple(problems))
