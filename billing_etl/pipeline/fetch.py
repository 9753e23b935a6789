"""What an exporter serves for an hour: its samples, the look-back, and what bounds its coverage."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from billing_etl.counters import HourSamples, OnBlock, SampleCollector, StoredName
from billing_etl.counters.coverage import missing_slots
from billing_etl.errors import MismatchError
from billing_etl.exporter import ExporterClient
from billing_etl.hours import NS_PER_HOUR, NS_PER_MINUTE, Hour, format_instant_ns
from billing_etl.masking import without_emails
from billing_etl.records import Snapshot
from billing_etl.settings import Source
from billing_etl.store.sources import NodeContext

# Exporters keep 72 hours (exporter contract, point 10). A node silent for longer has left; what
# was served further back than the probe reaches is as good as forgotten.
EXPORTER_RETENTION_NS: Final = 72 * NS_PER_HOUR
_OLDEST_PROBE_NS: Final = 30 * 24 * NS_PER_HOUR


@dataclass(frozen=True, slots=True)
class ServedHour:
    """An hour as the exporter serves it now.

    Attributes:
        samples: the hour.
        lookback: samples before the hour, of nodes without a closing before it (C4).
        clock_ns: the exporter's clock (its ``Date`` header), else this machine's.
        oldest_served_ns: oldest snapshot served, as far as it matters for the hour; None: none.
        expected_nodes: nodes whose coverage counts (C12).
        seen_later: nodes with a snapshot after the hour, served or stored.
        served_later: some snapshot after the hour is served, as far as it was asked for.
    """

    samples: HourSamples
    lookback: HourSamples
    clock_ns: int
    oldest_served_ns: int | None
    expected_nodes: list[tuple[str, str]]
    seen_later: set[tuple[str, str]]
    served_later: bool


def fetch_hour(
    source: Source,
    hour: Hour,
    contexts: list[NodeContext],
    on_block: OnBlock | None = None,
    stored_name: StoredName | None = None,
) -> ServedHour:
    """Reads an hour from its exporter.

    Args:
        source, hour: which one.
        contexts: what is stored of its nodes.
        on_block: gets the blocks of the hour's samples while the next ones are read.
        stored_name: see ``SampleCollector``.

    Raises:
        MismatchError: a snapshot is of another node or environment than expected (C2).
        BillingError: the exporter could not be read; nothing of the answer is kept.
    """
    with ExporterClient(source) as client:
        expected = max((c.prev_samples for c in contexts), default=0)
        served = client.snapshots(hour.start_ns, hour.end_ns, expected_samples=expected)
        samples = _collect(source, hour, served, SampleCollector(None, on_block, stored_name))
        clock_ns = client.report.date_ns or time.time_ns()
        before = SampleCollector(stored_name=stored_name)
        lookback = _lookback(client, source, hour, samples, contexts, before)
        nodes = _expected_nodes(samples, hour, contexts)
        seen_later = {(c.env, c.node_id) for c in contexts if c.seen_later}
        last_interval_ns = hour.end_ns - source.interval_seconds * 1_000_000_000
        unsettled = {
            node
            for node in nodes
            if not any(ns >= last_interval_ns for ns in _instants(samples, node))
        }
        served_later: set[tuple[str, str]] = set()
        if clock_ns >= hour.end_ns:
            missing = unsettled - seen_later
            if missing or not nodes:
                served_later = _served_later(client, source, hour, missing)
        oldest_ns = _oldest_served(client, source, hour, samples, lookback, nodes)
    return ServedHour(
        samples,
        lookback,
        clock_ns,
        oldest_ns,
        nodes,
        seen_later | served_later,
        bool(served_later),
    )


def _collect(
    source: Source, hour: Hour, snapshots: Iterable[Snapshot], collector: SampleCollector
) -> HourSamples:
    for snapshot in snapshots:
        for name, expected, got in (
            ("node", source.expected_node_id, snapshot.node_id),
            ("environment", source.expected_env, snapshot.env),
        ):
            if expected is not None and expected != got:
                raise MismatchError(
                    f"source {source.source_id}, hour {hour}: expected {name} {expected!r}, got "
                    f"{without_emails(got)!r} in the snapshot of "
                    f"{format_instant_ns(snapshot.instant_ns)}; nothing was written, "
                    "check base_url and the source's expectations"
                )
        collector.add(snapshot)
    return collector.finish()


def _lookback(
    client: ExporterClient,
    source: Source,
    hour: Hour,
    samples: HourSamples,
    contexts: list[NodeContext],
    collector: SampleCollector,
) -> HourSamples:
    """Samples before the hour, of nodes that have no closing of a collected hour before it (C4)."""
    with_closing = {(c.env, c.node_id) for c in contexts if c.has_closing}
    needed = set(samples.nodes) - with_closing
    if needed and source.lookback_minutes:
        since_ns = hour.start_ns - source.lookback_minutes * NS_PER_MINUTE
        for snapshot in client.snapshots(since_ns, hour.start_ns):
            if (snapshot.env, snapshot.node_id) in needed:
                collector.add(snapshot)
    return collector.finish()


def _expected_nodes(
    samples: HourSamples, hour: Hour, contexts: list[NodeContext]
) -> list[tuple[str, str]]:
    recent_ns = hour.start_ns - EXPORTER_RETENTION_NS
    known = {(c.env, c.node_id) for c in contexts if c.prev_ns >= recent_ns}
    return sorted(known.union(samples.nodes))


def _instants(samples: HourSamples, node: tuple[str, str]) -> list[int]:
    keys = [tuple(key) for key in samples.nodes]
    if node not in keys:
        return []
    return [int(ns) for ns in samples.snapshot_ns[samples.snapshot_node == keys.index(node)]]


def _served_later(
    client: ExporterClient, source: Source, hour: Hour, missing: set[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Nodes with a snapshot after the hour: looked for until the missing ones are seen.

    The next hour is read as far as that takes, of what comes later one page. Without missing
    nodes the first snapshot after the hour is enough.
    """
    seen: set[tuple[str, str]] = set()
    for snapshot in client.snapshots(hour.end_ns, hour.next.end_ns):
        seen.add((snapshot.env, snapshot.node_id))
        if missing <= seen:
            return seen
    later = client.first_snapshots(hour.next.end_ns, source.page_size)
    return seen | {(s.env, s.node_id) for s in later if s.instant_ns >= hour.next.end_ns}


def _oldest_served(
    client: ExporterClient,
    source: Source,
    hour: Hour,
    samples: HourSamples,
    lookback: HourSamples,
    expected: list[tuple[str, str]],
) -> int | None:
    """The oldest snapshot served; asked for only when the beginning of the hour is missing."""
    seen = [int(part.snapshot_ns.min()) for part in (lookback, samples) if len(part.snapshot_ns)]
    slots_missing = (
        not expected
        or any(
            missing_slots(
                samples.snapshot_ns[samples.snapshot_node == at], hour, source.interval_seconds
            )[0]
            for at in range(len(samples.nodes))
        )
        or len(expected) > len(samples.nodes)
    )
    if seen and (not slots_missing or min(seen) < hour.start_ns):
        return min(seen)
    oldest = client.first_snapshots(hour.start_ns - _OLDEST_PROBE_NS, 1)
    instants = [snapshot.instant_ns for snapshot in oldest] + seen
    return min(instants) if instants else None
