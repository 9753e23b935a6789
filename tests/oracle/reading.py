"""C1, C2, C3, C11: what exporters serve, per node and instant, in order of time."""

import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from oracle.terms import EPOCH, SECOND_NS, Instant, Node, Reading, Series, Settings

UUID_TEXT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


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
    # Decision: a tag that PostgreSQL cannot store is no text.
    tag_is_text = isinstance(tag, str) and "\0" not in tag
    tag_is_good = tag_is_text and len(tag.encode()) <= 255  # type: ignore[union-attr]
    series = Series(*node, uuid.lower(), tag) if uuid_is_good and tag_is_good else None  # type: ignore[union-attr,arg-type]
    if None in (uuid, tag, *totals):
        return "field_missing", series
    if not uuid_is_good:
        return "uuid_malformed", None
    if not tag_is_text:
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
