"""What stands before the first samples of an hour: predecessors, earlier snapshots, presence."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from billing_etl.counters import (
    CounterPolicy,
    FirstDeltas,
    FirstSamples,
    HourDeltas,
    HourSamples,
    judge_first_deltas,
)
from billing_etl.hours import Hour
from billing_etl.records import BoolArray, Int64Array
from billing_etl.store import collected
from billing_etl.store.columns import Rows
from billing_etl.store.database import Connection
from billing_etl.store.sources import NodeContext, node_contexts


@dataclass(frozen=True, slots=True)
class HourSnapshots:
    """The snapshots of a source-hour, sorted by node, then instant; parallel arrays.

    ``prev_ns`` is the node's snapshot before (0: none); ``first_nonempty_ns`` the first snapshot
    with samples ever seen of the node, up to this hour.
    """

    node_key: Int64Array
    instant_ns: Int64Array
    prev_ns: Int64Array
    first_nonempty_ns: Int64Array


@dataclass(frozen=True, slots=True)
class FirstContext:
    """First samples of a fresh hour with what stands before them."""

    samples: FirstSamples
    snapshot_prev_ns: Int64Array


@dataclass(frozen=True, slots=True)
class JudgedHour:
    """A fresh hour whose first deltas are judged, so that its facts can be computed."""

    context: FirstContext
    first: FirstDeltas
    deltas: HourDeltas

    @classmethod
    def of(cls, samples: HourSamples, context: FirstContext, policy: CounterPolicy) -> "JudgedHour":
        first = judge_first_deltas(context.samples, policy)
        return cls(context, first, HourDeltas(samples, first, context.snapshot_prev_ns, policy))


def hour_snapshots(
    contexts: Iterable[NodeContext],
    node_key: Int64Array,
    instant_ns: Int64Array,
    sample_counts: Int64Array,
) -> HourSnapshots:
    """Joins the snapshots of an hour, sorted by node, instant, with what is stored before it."""
    known = {context.node_key: context for context in contexts}
    prev_ns = np.zeros(len(instant_ns), dtype=np.int64)
    first_nonempty_ns = np.zeros(len(instant_ns), dtype=np.int64)
    for node in np.unique(node_key).tolist():
        at = np.flatnonzero(node_key == node)
        context = known.get(node)
        prev_ns[at[1:]] = instant_ns[at[:-1]]
        prev_ns[at[0]] = context.prev_ns if context else 0
        nonempty = instant_ns[at][sample_counts[at] > 0]
        stored_first = context.first_nonempty_ns if context else 0
        first_nonempty_ns[at] = stored_first or (nonempty[0] if len(nonempty) else 0)
    return HourSnapshots(node_key, instant_ns, prev_ns, first_nonempty_ns)


def with_predecessors(
    found: Rows,
    series_id: Int64Array,
    snapshot: Int64Array,
    snapshots: HourSnapshots,
    totals: tuple[Int64Array, Int64Array],
) -> FirstSamples:
    """First samples with those found of their predecessors (C4), and the node's past (C7)."""
    found = found[np.argsort(found["series_id"])]
    at = np.searchsorted(found["series_id"], series_id)
    at[at == len(found)] = 0
    has = found["series_id"][at] == series_id if len(found) else np.zeros(len(series_id), np.bool_)

    def column(name: str) -> Int64Array:
        values = np.zeros(len(series_id), dtype=np.int64)
        if len(found):
            values[has] = found[name][at][has]
        return values

    first_ns = snapshots.instant_ns[snapshot]
    first_nonempty_ns = snapshots.first_nonempty_ns[snapshot]
    return FirstSamples(
        first_ns=first_ns,
        first_uplink=totals[0],
        first_downlink=totals[1],
        prev_ns=column("last_ns"),
        prev_uplink=column("last_uplink"),
        prev_downlink=column("last_downlink"),
        node_prev_ns=snapshots.prev_ns[snapshot],
        appeared=(first_nonempty_ns > 0) & (first_nonempty_ns < first_ns),
    )


def respecting_presence(
    connection: Connection,
    first: FirstSamples,
    series_id: Int64Array,
    node_key: Int64Array,
    presence: Mapping[int, set[int]],
    hour: Hour,
    nonempty_in_hour: Mapping[int, Int64Array],
) -> FirstSamples:
    """A snapshot that served a series in quarantine is not one without it (C7).

    Only series that were ever quarantined are looked at again, one by one: they are few.
    """
    appeared: BoolArray = first.appeared.copy()
    candidates = np.flatnonzero(appeared & (first.prev_ns == 0))
    for at in candidates.tolist():
        instants = presence.get(int(series_id[at]))
        if not instants:
            continue
        node, first_ns = int(node_key[at]), int(first.first_ns[at])
        within = [ns for ns in nonempty_in_hour.get(node, ()) if ns < first_ns]
        appeared[at] = any(int(ns) not in instants for ns in within) or collected.appeared(
            connection, node, min(hour.start_ns, first_ns), instants
        )
    return replace(first, appeared=appeared)


def first_context(
    connection: Connection,
    source_key: int,
    hour: Hour,
    samples: HourSamples,
    lookback: HourSamples,
    node_keys: Mapping[tuple[str, str], int],
    series_ids: Int64Array,
) -> FirstContext:
    """Everything that the first deltas of a freshly served hour are judged by."""
    ids = series_ids[samples.first.series]
    context = known_context(
        node_contexts(connection, source_key, hour),
        samples,
        node_keys,
        series_ids,
        collected.predecessors(connection, ids.tolist(), hour),
    )
    presence = collected.presence(connection, source_key, hour.previous)
    has_bad = bool(lookback.bad_samples or samples.bad_samples)
    by_name = (
        {name: int(ids_) for name, ids_ in zip(samples.series_keys, series_ids, strict=True)}
        if has_bad
        else {}
    )
    for part in (lookback, samples):
        for placed in part.bad_samples:
            name = (*part.nodes[placed.node], placed.sample.account_uuid, placed.sample.inbound_tag)
            series_id = by_name.get(name)  # type: ignore[call-overload]
            if series_id is not None:
                presence.setdefault(series_id, set()).add(placed.instant_ns)
    nonempty = samples.snapshot_samples > 0
    snapshot_node = _snapshot_nodes(samples, node_keys)
    first = respecting_presence(
        connection,
        context.samples,
        ids,
        snapshot_node[samples.first.snapshot],
        presence,
        hour,
        {
            int(key): samples.snapshot_ns[nonempty & (snapshot_node == key)]
            for key in (np.unique(snapshot_node) if presence else ())
        },
    )
    return replace(context, samples=first)


def known_context(
    contexts: Iterable[NodeContext],
    samples: HourSamples,
    node_keys: Mapping[tuple[str, str], int],
    series_ids: Int64Array,
    predecessors: Rows,
) -> FirstContext:
    """The same from what was read before; the whole of it where every series has a predecessor."""
    snapshots = hour_snapshots(
        contexts, _snapshot_nodes(samples, node_keys), samples.snapshot_ns, samples.snapshot_samples
    )
    first = samples.first
    found = with_predecessors(
        predecessors,
        series_ids[first.series],
        first.snapshot,
        snapshots,
        (first.uplink, first.downlink),
    )
    return FirstContext(found, snapshots.prev_ns)


def _snapshot_nodes(samples: HourSamples, node_keys: Mapping[tuple[str, str], int]) -> Int64Array:
    keys = np.array([node_keys[key] for key in samples.nodes], dtype=np.int64)
    return keys[samples.snapshot_node]
