"""C4 to C10: one hour of one node, from its whole timeline: deltas, facts, resets and gaps."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from oracle.terms import (
    HOUR_NS,
    MINUTE_NS,
    SECOND_NS,
    Closing,
    Fact,
    Finding,
    Gap,
    Instant,
    Node,
    Reading,
    Reset,
    Series,
    Settings,
    SourceHour,
)


def timeline(
    instants: list[Instant],
    hour: int,
    collected: set[int],
    lookback_minutes: int,
    looked_back: list[Instant],
) -> list[Instant]:
    """What H may know of a node: collected hours before H, look-back, and H itself.

    C4: a collected hour with snapshots of the node looks back as long as the node has no closing
    (a usable sample) of a collected hour before it. Look-back samples are kept as closings of
    their own hours, so later hours know them too, as far as those hours were not collected so.

    ``looked_back``: what was read as look-back, where that is not among ``instants``.
    """
    start_ns = hour * HOUR_NS
    known = [
        i for i in instants if i.instant_ns < start_ns and i.instant_ns // HOUR_NS in collected
    ]
    first_closing = min([*(i.instant_ns // HOUR_NS for i in known if i.totals), hour])
    looking = {
        i.instant_ns // HOUR_NS * HOUR_NS
        for i in instants
        if i.instant_ns // HOUR_NS in {*collected, hour}
        and i.instant_ns // HOUR_NS <= first_closing
    }
    seen = {i.instant_ns for i in known}
    known += [
        i
        for i in {each.instant_ns: each for each in (*instants, *looked_back)}.values()
        if i.instant_ns not in seen
        and i.instant_ns < start_ns
        and any(k - lookback_minutes * MINUTE_NS <= i.instant_ns < k for k in looking)
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
