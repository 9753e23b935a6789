"""The words of the semantics as plain tuples: what was served, and what must come of it.

Clocks are integers counted from 1970 in UTC: ``*_ns`` nanoseconds, ``minute``, ``hour``.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Settings: TypeAlias = Mapping[str, Any]  # a source, a snapshot or a price book, as plain data
STATES_BEST_FIRST = ("complete", "partial", "lost")  # in the order in which C12 names them


class Node(NamedTuple):
    source_id: str
    env: str
    node_id: str


class Series(NamedTuple):
    source_id: str
    env: str
    node_id: str
    account: str
    inbound_tag: str


class Reading(NamedTuple):
    """The two totals of one series at one instant."""

    instant_ns: int
    up: int
    down: int


@dataclass
class Instant:
    """Everything that one node served for one instant, in however many snapshots."""

    instant_ns: int
    snapshots: int = 0
    fetched: int = 0
    duplicates: int = 0
    totals: dict[Series, Reading] = field(default_factory=dict)
    conflicting: set[Series] = field(default_factory=set)
    quarantined: list[tuple[str, Series | None]] = field(default_factory=list)

    @property
    def present(self) -> set[Series]:
        """C7: a quarantined sample counts as presence too, when its series can be read."""
        return set(self.totals) | {series for _, series in self.quarantined if series is not None}


class Fact(NamedTuple):
    up: int
    down: int
    span: int
    is_reset: bool


@dataclass
class Closing:
    first: Reading
    last: Reading
    predecessor: Reading | None
    first_kind: str  # "delta", "reset", "born" or "baseline"


class Reset(NamedTuple):
    series: Series
    instant_ns: int
    reset_class: str  # "node_restart" or "single_series"
    before: Reading


class Gap(NamedTuple):
    kind: str  # "exporter_down" (subject: a node) or "series_absent" (subject: a series)
    subject: Node | Series
    from_ns: int
    to_ns: int
    bytes: int


class Finding(NamedTuple):
    kind: str
    subject: Node | Series
    instant_ns: int


@dataclass
class Coverage:
    expected_snapshots: int = 0
    snapshots: int = 0  # as served
    instants: int = 0  # distinct (node, instant)
    fetched: int = 0
    used: int = 0
    duplicates: int = 0
    baselines: int = 0
    quarantined: int = 0
    missing_minutes: int = 0
    state: str = "partial"
    first_ns: int | None = None
    last_ns: int | None = None


@dataclass
class SourceHour:
    facts: dict[tuple[Series, int], Fact] = field(default_factory=dict)
    closings: dict[Series, Closing] = field(default_factory=dict)
    node_instants: dict[Node, dict[int, int]] = field(default_factory=dict)  # -> samples served
    resets: list[Reset] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    quarantine_reasons: Counter[str] = field(default_factory=Counter)
    coverage: Coverage = field(default_factory=Coverage)


class Rating(NamedTuple):
    included: int
    rated: int
    price_per_byte: Fraction
    region_multiplier: Fraction
    line_multiplier: Fraction
    time_multiplier: Fraction
    amount: Fraction


@dataclass
class Bill:
    ratings: dict[tuple[Series, int], Rating] = field(default_factory=dict)
    ledger: dict[tuple[str, int], tuple[Fraction, int]] = field(default_factory=dict)
    quota_used: dict[tuple[str, int], int] = field(default_factory=dict)  # (account, 1st minute)
    quota: dict[tuple[str, int], int] = field(default_factory=dict)
    balance: dict[str, Fraction] = field(default_factory=dict)


@dataclass
class Result:
    hours: dict[tuple[str, int], SourceHour]
    checkpoints: dict[str, int | None]  # source -> first hour not yet final
    bill: Bill
