"""How much of an hour was seen, and whether more can still come (C12)."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from billing_etl.hours import NS_PER_HOUR, NS_PER_SECOND, Hour
from billing_etl.records import BoolArray, Int64Array

HourState: TypeAlias = Literal["complete", "partial", "lost"]
_WORST_FIRST: Final[tuple[HourState, ...]] = ("lost", "partial", "complete")


@dataclass(frozen=True, slots=True)
class NodeCoverage:
    """The instants of one expected node in the hour, and whether it was seen after the hour."""

    instants_ns: Int64Array
    seen_later: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """Counts and state of a source-hour.

    Attributes:
        expected_snapshots: one per interval and expected node.
        missing_minutes: minutes of the hour in which some expected node has no snapshot.
        state: the worst over the nodes; ``partial`` as long as the hour has not ended.
    """

    expected_snapshots: int
    missing_minutes: int
    state: HourState


def missing_slots(instants_ns: Int64Array, hour: Hour, interval_seconds: int) -> BoolArray:
    """Which slots of the hour, one interval each and at least a minute, have no snapshot."""
    slot_ns = max(interval_seconds, 60) * NS_PER_SECOND
    slots = -(-NS_PER_HOUR // slot_ns)
    missing = np.ones(slots, dtype=np.bool_)
    missing[(instants_ns - hour.start_ns) // slot_ns] = False
    return missing


def cover_hour(
    nodes: list[NodeCoverage],
    hour: Hour,
    interval_seconds: int,
    *,
    has_ended: bool,
    oldest_served_ns: int | None,
    served_later: bool,
) -> Coverage:
    """Judges the coverage of a source-hour by C12.

    Args:
        nodes: every node expected in the hour: seen in it, or not long before it.
        hour: the hour.
        interval_seconds: the source's snapshot interval.
        has_ended: the exporter's clock stands past the hour.
        oldest_served_ns: the oldest snapshot that the exporter still serves, None: nothing at all.
        served_later: some snapshot after the hour is served; decides where no node is expected.
    """
    slot_ns = max(interval_seconds, 60) * NS_PER_SECOND
    missing_any = np.zeros(-(-NS_PER_HOUR // slot_ns), dtype=np.bool_)
    states: list[HourState] = []
    for node in nodes:
        missing = missing_slots(node.instants_ns, hour, interval_seconds)
        missing_any |= missing
        states.append(_node_state(node, missing, hour, interval_seconds, oldest_served_ns))
    if not nodes:
        missing_any[:] = True
        if oldest_served_ns is not None and oldest_served_ns >= hour.end_ns:
            states.append("lost")
        else:
            states.append("complete" if served_later else "partial")
    expected = max(1, round(NS_PER_HOUR / (interval_seconds * NS_PER_SECOND)))
    return Coverage(
        expected_snapshots=expected * max(1, len(nodes)),
        missing_minutes=min(60, round(int(missing_any.sum()) * slot_ns / (60 * NS_PER_SECOND))),
        state=min(states, key=_WORST_FIRST.index) if has_ended else "partial",
    )


def _node_state(
    node: NodeCoverage,
    missing: BoolArray,
    hour: Hour,
    interval_seconds: int,
    oldest_served_ns: int | None,
) -> HourState:
    slot_ns = max(interval_seconds, 60) * NS_PER_SECOND
    if oldest_served_ns is not None and missing.any():
        first_missing_end_ns = hour.start_ns + (int(np.argmax(missing)) + 1) * slot_ns
        if oldest_served_ns >= first_missing_end_ns:
            return "lost"
    last_interval_ns = hour.end_ns - interval_seconds * NS_PER_SECOND
    in_last_interval = bool((node.instants_ns >= last_interval_ns).any())
    return "complete" if in_last_interval or node.seen_later else "partial"
