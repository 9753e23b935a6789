"""The semantics (C1-C14, R1-R6) written a second time, as an auditor would check a bill by hand.

It shares nothing with ``billing_etl``, on purpose: lists, dicts and ``Fraction`` only, and always
the whole history instead of checkpoints. An hour is a pure function of what is served and of the
hours that were collected, so every hour is computed from its own timeline, from the beginning.

Clocks are integers counted from 1970 in UTC: ``*_ns`` nanoseconds, ``minute``, ``hour``.
"""

import calendar
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UUID_TEXT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
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


# --- Reading what exporters serve (C1, C2, C3, C11) ------------------------------------------


def read_instant(text: str) -> int:
    """Nanoseconds since 1970; up to nine fractional digits and any offset."""
    match = re.fullmatch(r"(.{19})(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", text)
    assert match is not None, text
    clock, fraction, zone = match.groups()
    at_offset = datetime.fromisoformat(clock + zone.replace("Z", "+00:00"))
    return (at_offset - EPOCH) // timedelta(seconds=1) * SECOND_NS + int(
        (fraction or "0").ljust(9, "0")
    )


def judge_sample(node: Node, sample: Any) -> tuple[str | None, Series | None]:
    """C11: why a sample is bad (None: it is good), and its series when that can be read."""
    if not isinstance(sample, dict):
        return "sample_not_object", None
    uuid, tag = sample.get("uuid"), sample.get("inbound_tag")
    totals: list[Any] = [sample.get("uplink_bytes_total"), sample.get("downlink_bytes_total")]
    uuid_is_good = isinstance(uuid, str) and UUID_TEXT.fullmatch(uuid.lower()) is not None
    tag_is_good = isinstance(tag, str) and len(tag.encode()) <= 255
    series = Series(*node, uuid.lower(), tag) if uuid_is_good and tag_is_good else None  # type: ignore[union-attr,arg-type]
    if None in (uuid, tag, *totals):
        return "field_missing", series
    if not uuid_is_good:
        return "uuid_malformed", None
    if not isinstance(tag, str):
        return "tag_not_text", None
    if not tag_is_good:
        return "tag_too_long", None
    if any(type(total) is not int for total in totals):
        return "total_not_integer", series
    if min(totals) < 0:
        return "total_negative", series
    if sum(totals) > 2**63 - 1:
        return "total_too_large", series
    return None, series


def add_snapshot(instant: Instant, node: Node, samples: list[Any] | None) -> None:
    """C3: at one instant equal values count once, of different ones the larger, per counter.

    Decision: a snapshot that the exporter itself serves twice is no re-read of ours (C6), so the
    second copy's samples are fetched and are duplicates.
    """
    instant.snapshots += 1
    for sample in samples or []:  # C11: null is an empty snapshot
        instant.fetched += 1
        reason, series = judge_sample(node, sample)
        if reason is not None or series is None:
            instant.quarantined.append((reason or "", series))
            continue
        up, down = sample["uplink_bytes_total"], sample["downlink_bytes_total"]
        new = Reading(instant.instant_ns, up, down)
        old = instant.totals.setdefault(series, new)
        if old is new:
            continue
        instant.duplicates += 1
        if old != new:
            instant.conflicting.add(series)
            instant.totals[series] = Reading(
                new.instant_ns, max(old.up, new.up), max(old.down, new.down)
            )


def read_served(source_id: str, snapshots: Iterable[Settings]) -> dict[Node, list[Instant]]:
    """C1-C3: per node, the instants in order of time, whatever order they were served in."""
    nodes: dict[Node, dict[int, Instant]] = defaultdict(dict)
    for snapshot in snapshots:
        node = Node(source_id, snapshot["env"], snapshot["node_id"])
        at_ns = read_instant(snapshot["collected_at"])
        instant = nodes[node].setdefault(at_ns, Instant(at_ns))
        add_snapshot(instant, node, snapshot["samples"])
    return {node: [by_time[at] for at in sorted(by_time)] for node, by_time in nodes.items()}


# --- One hour of one node (C4-C11) -----------------------------------------------------------


def timeline(
    instants: list[Instant],
    hour: int,
    collected: set[int],
    lookback_minutes: int,
    looked_back: list[Instant],
) -> list[Instant]:
    """What H may know of a node: collected hours before H, look-back, and H itself.

    C4: only the first collected hour in which the node has a closing (a usable sample) is looked
    back from; its look-back samples are kept as closings of their own hours, so later hours know
    them too, as long as those hours have not been collected themselves.

    ``looked_back``: what was read as look-back, where that is not among ``instants``.
    """
    start_ns = hour * HOUR_NS
    known = [
        i for i in instants if i.instant_ns < start_ns and i.instant_ns // HOUR_NS in collected
    ]
    with_closing = [i.instant_ns // HOUR_NS for i in known if i.totals]
    anchor_ns = min([*with_closing, hour]) * HOUR_NS
    from_ns = anchor_ns - lookback_minutes * MINUTE_NS
    seen = {i.instant_ns for i in known}
    known += [
        i
        for i in (*instants, *looked_back)
        if from_ns <= i.instant_ns < anchor_ns and i.instant_ns not in seen
    ]
    known.sort(key=lambda instant: instant.instant_ns)
    return known + [i for i in instants if i.instant_ns // HOUR_NS == hour]


@dataclass
class Memory:
    """What a timeline has shown of one node so far."""

    previous: dict[Series, Reading] = field(default_factory=dict)
    node_ns: int | None = None  # the node's last instant, with or without samples
    non_empty: int = 0  # snapshots so far with at least one sample, usable or quarantined
    present: Counter[Series] = field(default_factory=Counter)  # in how many of those

    def add(self, instant: Instant) -> None:
        self.previous.update(instant.totals)
        self.node_ns = instant.instant_ns
        self.non_empty += instant.fetched > 0
        self.present.update(instant.present)


class Delta(NamedTuple):
    kind: str  # "delta", "reset", "born" or "baseline"
    up: int
    down: int
    span: int


def collect_node(
    out: SourceHour, source: Settings, node: Node, line: list[Instant], hour: int
) -> None:
    """Walks the timeline of one node once; only what lies in H is written down."""
    memory = Memory()
    for instant in line:
        if instant.instant_ns // HOUR_NS == hour:
            deltas = {
                series: measure(out, source, series, now, memory)
                for series, now in instant.totals.items()
            }
            write_instant(out, node, instant)
            write_closings(out, instant, deltas, memory)
            write_resets(out, instant, deltas, memory)
            write_facts(out, instant, deltas)
            write_gaps(out, source, node, instant, deltas, memory)
        memory.add(instant)


def measure(
    out: SourceHour, source: Settings, series: Series, now: Reading, memory: Memory
) -> Delta:
    """C4, C5, C7: what one sample adds."""
    bits_per_second = source.get("max_bits_per_second", 1_000_000_000)
    before = memory.previous.get(series)
    if before is not None:
        # C9: one minute, or as many as lie from the predecessor's minute up to its own.
        span = max(1, now.instant_ns // MINUTE_NS - before.instant_ns // MINUTE_NS)
        if now.up < before.up or now.down < before.down:
            delta = Delta("reset", now.up, now.down, span)
        else:
            delta = Delta("delta", now.up - before.up, now.down - before.down, span)
        # Decision: over the time since its predecessor, resets too; billed all the same.
        elapsed_ns = now.instant_ns - before.instant_ns
        if flowed_too_fast(delta.up + delta.down, elapsed_ns, bits_per_second):
            out.findings.append(Finding("rate_exceeded", series, now.instant_ns))
        return delta

    baseline, born = Delta("baseline", 0, 0, 1), Delta("born", now.up, now.down, 1)
    first_sight = source.get("first_sight", "auto")
    if first_sight == "baseline":
        return baseline
    if first_sight == "charge":
        return born  # Decision: always the whole total, whatever the rate
    # Decision: born, when some earlier non-empty snapshot of the node within this timeline had
    # neither a usable nor a quarantined sample of the series.
    if memory.non_empty == memory.present[series]:
        return baseline
    # Decision: the time since the node's previous snapshot of any kind, also an empty one.
    assert memory.node_ns is not None
    if flowed_too_fast(now.up + now.down, now.instant_ns - memory.node_ns, bits_per_second):
        out.findings.append(Finding("implausible_birth", series, now.instant_ns))
        return baseline
    return born


def write_instant(out: SourceHour, node: Node, instant: Instant) -> None:
    out.node_instants.setdefault(node, {})[instant.instant_ns] = instant.fetched
    out.quarantine_reasons.update(reason for reason, _ in instant.quarantined)
    for series in instant.conflicting:  # C3
        out.findings.append(Finding("conflicting_samples", series, instant.instant_ns))
    out.coverage.snapshots += instant.snapshots
    out.coverage.instants += 1
    out.coverage.fetched += instant.fetched
    out.coverage.duplicates += instant.duplicates
    out.coverage.quarantined += len(instant.quarantined)


def write_closings(
    out: SourceHour, instant: Instant, deltas: dict[Series, Delta], memory: Memory
) -> None:
    for series, now in instant.totals.items():
        kind = deltas[series].kind
        out.coverage.baselines += kind == "baseline"
        out.coverage.used += kind != "baseline"
        first = Closing(now, now, memory.previous.get(series), kind)
        out.closings.setdefault(series, first).last = now


def write_resets(
    out: SourceHour, instant: Instant, deltas: dict[Series, Delta], memory: Memory
) -> None:
    """C5. Decision: "most" is more than half of the node's series in this instant that have a
    predecessor.
    """
    fallen = [series for series, delta in deltas.items() if delta.kind == "reset"]
    compared = [series for series in deltas if series in memory.previous]
    reset_class = "node_restart" if len(fallen) * 2 > len(compared) else "single_series"
    for series in fallen:
        at_ns = instant.instant_ns
        out.resets.append(Reset(series, at_ns, reset_class, memory.previous[series]))
        if reset_class == "single_series":
            out.findings.append(Finding("single_series_reset", series, at_ns))


def write_facts(out: SourceHour, instant: Instant, deltas: dict[Series, Delta]) -> None:
    """C8, C9: the deltas of a minute add up; span and mark count the zero ones too."""
    for series, delta in deltas.items():
        if delta.kind == "baseline":
            continue
        key = (series, instant.instant_ns // MINUTE_NS)
        old = out.facts.get(key, Fact(0, 0, 1, False))
        out.facts[key] = Fact(
            old.up + delta.up,
            old.down + delta.down,
            max(old.span, delta.span),
            old.is_reset or delta.kind == "reset",
        )


def write_gaps(
    out: SourceHour,
    source: Settings,
    node: Node,
    instant: Instant,
    deltas: dict[Series, Delta],
    memory: Memory,
) -> None:
    """C9. Decisions: exporter_down lies between two consecutive instants of the node and holds all
    bytes of the later one; series_absent asks that the node was seen after the predecessor.
    """
    if memory.node_ns is None:
        return
    interval_seconds, to_ns = source.get("interval_seconds", 60), instant.instant_ns
    if is_gap(memory.node_ns, to_ns, interval_seconds):
        moved = sum(delta.up + delta.down for delta in deltas.values())
        out.gaps.append(Gap("exporter_down", node, memory.node_ns, to_ns, moved))
    for series, delta in deltas.items():
        before = memory.previous.get(series)
        moved = delta.up + delta.down
        if before is None or moved == 0 or before.instant_ns == memory.node_ns:
            continue
        if is_gap(before.instant_ns, to_ns, interval_seconds):
            out.gaps.append(Gap("series_absent", series, before.instant_ns, to_ns, moved))


def flowed_too_fast(quantity_bytes: int, elapsed_ns: int, bits_per_second: int) -> bool:
    return quantity_bytes * 8 * SECOND_NS > bits_per_second * elapsed_ns


def is_gap(from_ns: int, to_ns: int, interval_seconds: int) -> bool:
    """C9: more than 2.5 intervals passed."""
    return (to_ns - from_ns) * 2 > 5 * interval_seconds * SECOND_NS


# --- One hour of one source (C12) ------------------------------------------------------------


@dataclass
class Known:
    """Everything that the hours of one source are computed from."""

    nodes: dict[Node, list[Instant]]
    collected: set[int]
    looked_back: dict[Node, list[Instant]]
    served: dict[Node, list[int]]  # every instant that the exporter still serves
    served_now_ns: int

    def timeline(self, source: Settings, node: Node, hour: int) -> list[Instant]:
        return timeline(
            self.nodes[node],
            hour,
            self.collected,
            source.get("lookback_minutes", 10),
            self.looked_back.get(node, []),
        )


def collect_hour(source: Settings, known: Known, hour: int) -> SourceHour:
    out = SourceHour()
    for node in sorted(known.nodes):
        collect_node(out, source, node, known.timeline(source, node, hour), hour)
    out.facts = {key: fact for key, fact in out.facts.items() if fact.up + fact.down > 0}  # C10
    for node, instants in out.node_instants.items():  # C1
        for at_ns in instants:
            if at_ns > known.served_now_ns + 5 * MINUTE_NS:
                out.findings.append(Finding("clock_ahead", node, at_ns))
    at_all = [at_ns for instants in out.node_instants.values() for at_ns in instants]
    if at_all:
        out.coverage.first_ns, out.coverage.last_ns = min(at_all), max(at_all)
    cover(out.coverage, source, known, hour)
    return out


def cover(coverage: Coverage, source: Settings, known: Known, hour: int) -> None:
    """C12. Decision: the nodes considered are those seen in H, or in the 72 h before H in what was
    collected by then, or looked back from an hour in which the node was seen.
    """
    start_ns, end_ns = hour * HOUR_NS, (hour + 1) * HOUR_NS
    interval_seconds = source.get("interval_seconds", 60)
    # Decision: a slot is one interval, but never less than a minute.
    slot_ns = max(interval_seconds, 60) * SECOND_NS
    served = [at_ns for instants in known.served.values() for at_ns in instants]
    oldest_served_ns = min(served, default=None)
    states = []
    for node, instants in known.nodes.items():
        known_ns = {
            instant.instant_ns
            for known_hour in known.collected
            if known_hour <= hour and any(i.instant_ns // HOUR_NS == known_hour for i in instants)
            for instant in known.timeline(source, node, known_hour)
        }
        if not any(start_ns - 3 * DAY_NS <= at_ns < end_ns for at_ns in known_ns):
            continue
        all_ns = [instant.instant_ns for instant in instants]
        own_ns = [at_ns for at_ns in known_ns if start_ns <= at_ns < end_ns]
        slots_seen = {(at_ns - start_ns) // slot_ns for at_ns in own_ns}
        slots = range(-(-HOUR_NS // slot_ns))
        missing = [slot for slot in slots if slot not in slots_seen]
        coverage.expected_snapshots += round(3600 / interval_seconds)
        coverage.missing_minutes += len(missing)
        # "In the hour's last interval, or any later snapshot": served now, or collected before.
        # Decision: lost, when a whole missing slot lies before the oldest snapshot still served.
        last_interval_ns = end_ns - interval_seconds * SECOND_NS
        if oldest_served_ns is not None and any(
            start_ns + (slot + 1) * slot_ns <= oldest_served_ns for slot in missing
        ):
            states.append("lost")
        elif any(at_ns >= last_interval_ns for at_ns in (*known.served[node], *all_ns)):
            states.append("complete")
        else:
            states.append("partial")
    if not states:  # Decision for a source without any node
        if oldest_served_ns is not None and oldest_served_ns >= end_ns:
            states.append("lost")
        else:
            states.append("complete" if any(at_ns >= end_ns for at_ns in served) else "partial")
    coverage.state = max(states, key=STATES_BEST_FIRST.index)
    if known.served_now_ns < end_ns:  # Decision: an hour that has not ended is always partial
        coverage.state = "partial"


# --- Money (R1-R6) ---------------------------------------------------------------------------


def exact(number: Decimal | int | str) -> Fraction:
    return Fraction(Decimal(number))


def in_force(dated: Iterable[Settings], minute: int) -> Settings | None:
    """The newest entry that begins at or before the minute."""
    begun = [entry for entry in dated if entry["from_minute"] <= minute]
    return max(begun, key=lambda entry: int(entry["from_minute"]), default=None)


def versions_in_force(book: Settings, account: str, minute: int) -> list[Settings]:
    """R2: the versions that apply to an account at a minute: its own, its plan's, the default."""
    member = in_force((m for m in book["plan_members"] if m["account"] == account), minute)
    scopes = [("account", account), ("plan", member["plan"] if member else None), ("default", None)]
    found = []
    for scope, key in scopes:
        if scope == "plan" and key is None:
            continue  # no member, or the membership ended
        of_scope = [v for v in book["versions"] if (v["scope"], v.get("key")) == (scope, key)]
        found.append(in_force(of_scope, minute))
    return [version for version in found if version is not None]


def multipliers(
    book: Settings, sources: list[Settings], series: Series, minute: int
) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """R2: price per byte, region, line and time multiplier of one fact."""
    version = versions_in_force(book, series.account, minute)[0]
    dated = in_force(
        (r for r in book["source_regions"] if r["source_id"] == series.source_id), minute
    )
    own = next(s.get("region") for s in sources if s["source_id"] == series.source_id)
    region = dated["region"] if dated else own
    zone = ZoneInfo(version.get("peak_time_zone", "UTC"))
    is_peak = (EPOCH + timedelta(minutes=minute)).astimezone(zone).hour in version.get(
        "peak_hours", []
    )
    return (
        exact(version["price_per_byte"]),
        exact(version.get("region_multipliers", {}).get(region, 1)),
        exact(version.get("line_multipliers", {}).get(series.inbound_tag, 1)),
        exact(version.get("peak_multiplier" if is_peak else "offpeak_multiplier", 1)),
    )


def period_start(minute: int, anchor_day: int) -> int:
    """R3: the first minute of the billing period that contains the minute.

    Decision: an anchor day beyond the end of a month is that month's last day.
    """
    day = EPOCH + timedelta(minutes=minute)

    def begin(year: int, month: int) -> datetime:
        last_day = calendar.monthrange(year, month)[1]
        return datetime(year, month, min(anchor_day, last_day), tzinfo=UTC)

    start = begin(day.year, day.month)
    if start > day:
        start = begin(day.year - (day.month == 1), (day.month - 2) % 12 + 1)
    return (start - EPOCH) // timedelta(minutes=1)


def included_quota(book: Settings, account: str, first_minute: int) -> int:
    """R3: what is in force at the period's first minute.

    Decision: a version that names no quota leaves it to the next wider scope, and at last to the
    book's own ``quota``.
    """
    for version in versions_in_force(book, account, first_minute):
        if version.get("included_quota_bytes") is not None:
            return int(version["included_quota_bytes"])
    return int(book.get("quota", 0))


def rate(
    book: Settings,
    sources: list[Settings],
    facts: Mapping[tuple[Series, int], Fact],
) -> Bill:
    """R1-R6 over all facts at once, in the order in which the included quota is consumed."""
    bill = Bill()

    def consumption_order(key: tuple[Series, int]) -> tuple[Any, ...]:
        series, minute = key
        names = (series.node_id, series.inbound_tag, series.env, series.source_id)
        return (minute, *(name.encode() for name in names))

    for series, minute in sorted(facts, key=consumption_order):
        fact = facts[series, minute]
        first_minute = period_start(minute, book.get("anchor_day", 1))
        period = (series.account, first_minute)
        quota = bill.quota.setdefault(period, included_quota(book, *period))
        used = bill.quota_used.get(period, 0)
        included = min(fact.up + fact.down, quota - used)
        rated = fact.up + fact.down - included
        bill.quota_used[period] = used + included
        price, region, line, time = multipliers(book, sources, series, minute)
        amount = rated * price * region * line * time
        bill.ratings[series, minute] = Rating(included, rated, price, region, line, time, amount)
        account_hour = (series.account, minute // 60)
        charged, charged_bytes = bill.ledger.get(account_hour, (Fraction(0), 0))
        bill.ledger[account_hour] = (charged + amount, charged_bytes + rated)  # R5, its net

    accounts = {account for account, _ in bill.ledger} | {c["account"] for c in book["credits"]}
    for account in accounts:  # R6
        credited = sum(
            (exact(c["amount"]) for c in book["credits"] if c["account"] == account), Fraction(0)
        )
        charges = sum(
            (amount for (who, _), (amount, _) in bill.ledger.items() if who == account), Fraction(0)
        )
        bill.balance[account] = exact(book.get("opening_balance", 0)) + credited - charges
    return bill


# --- All of it -------------------------------------------------------------------------------


def audit(
    sources: list[Settings],
    snapshots: Mapping[str, list[Settings]],
    collected_hours: Mapping[str, set[int]],
    book: Settings,
    served_now_ns: int,
    lookback: Mapping[str, list[Settings]] | None = None,
    served: Mapping[str, list[Settings]] | None = None,
) -> Result:
    """Everything that must stand in the database once these hours are collected and rated.

    ``snapshots`` is everything that was ever served, unless that changed while hours were being
    collected: then it is what each collected hour was last collected with (C13), ``lookback``
    what was read before the hours that were looked back from, and ``served`` what is served now.
    """
    hours: dict[tuple[str, int], SourceHour] = {}
    checkpoints: dict[str, int | None] = {}
    for source in sources:
        source_id = source["source_id"]
        collected = set(collected_hours.get(source_id, set()))
        nodes = read_served(source_id, snapshots.get(source_id, []))
        still = nodes if served is None else read_served(source_id, served[source_id])
        known = Known(
            nodes,
            collected,
            read_served(source_id, (lookback or {}).get(source_id, [])),
            defaultdict(list, {n: [i.instant_ns for i in of] for n, of in still.items()}),
            served_now_ns,
        )
        for hour in sorted(collected):
            hours[source_id, hour] = collect_hour(source, known, hour)
        checkpoint = min(collected, default=None)  # C12: contiguous complete-or-lost hours
        while (
            checkpoint is not None
            and checkpoint in collected
            and hours[source_id, checkpoint].coverage.state != "partial"
        ):
            checkpoint += 1
        checkpoints[source_id] = checkpoint
    facts = {key: fact for hour_of in hours.values() for key, fact in hour_of.facts.items()}
    return Result(hours, checkpoints, rate(book, sources, facts))
