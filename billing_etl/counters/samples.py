"""Snapshots into sorted columns: identity, order, duplicates, content hashes (C2, C3, C6)."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from billing_etl.records import BadSample, BoolArray, Int64Array, Snapshot

HASH_BYTES: Final = 16


class NodeKey(NamedTuple):
    """A node of a source (C2)."""

    env: str
    node_id: str


class SeriesKey(NamedTuple):
    """A series of a source: what a pair of counters belongs to."""

    env: str
    node_id: str
    account_uuid: str
    inbound_tag: str

    def __str__(self) -> str:
        return f"{self.env}/{self.node_id} {self.account_uuid} {self.inbound_tag}"


class PlacedBadSample(NamedTuple):
    """A quarantined sample with the place where it was served."""

    node: int
    instant_ns: int
    sample: BadSample


@dataclass(frozen=True, slots=True)
class HourSamples:
    """The usable samples of a window, each series at each instant once.

    Codes are positions: ``series_node[s]`` indexes ``nodes``; ``series[i]`` indexes
    ``series_keys``; ``snapshot[i]`` indexes the ``snapshot_*`` arrays.

    Attributes:
        series, snapshot, instant_ns, uplink, downlink: one entry per sample, sorted by series,
            then instant. Totals are cumulative bytes.
        snapshot_node, snapshot_ns, snapshot_samples, snapshot_hashes: one entry per (node,
            instant), sorted; samples as served, usable or not.
        duplicates: samples that repeated a series at an instant (C3, C6).
        conflicts: positions of samples whose repetitions had other values (C3).
    """

    nodes: list[NodeKey]
    series_keys: list[SeriesKey]
    series_node: Int64Array
    series: Int64Array
    snapshot: Int64Array
    instant_ns: Int64Array
    uplink: Int64Array
    downlink: Int64Array
    snapshot_node: Int64Array
    snapshot_ns: Int64Array
    snapshot_samples: Int64Array
    snapshot_hashes: list[bytes]
    duplicates: int
    conflicts: Int64Array
    bad_samples: list[PlacedBadSample]

    @property
    def served_samples(self) -> int:
        return int(self.snapshot_samples.sum())

    @property
    def first_positions(self) -> Int64Array:
        """Position of the first sample of each series present, in series order."""
        return np.flatnonzero(_starts(self.series))

    def content_hash(self) -> bytes:
        """Hash of every (node, instant, content), independent of pages and serving order."""
        digest = hashlib.blake2b(digest_size=HASH_BYTES)
        rows = zip(
            self.snapshot_node.tolist(),
            self.snapshot_ns.tolist(),
            self.snapshot_hashes,
            strict=True,
        )
        for node, instant_ns, content in sorted(
            (self.nodes[node], instant_ns, content) for node, instant_ns, content in rows
        ):
            digest.update(f"{node.env}\0{node.node_id}\0{instant_ns}\0".encode())
            digest.update(content)
        return digest.digest()


@dataclass(slots=True)
class _Layout:
    """The accounts and tags of a node's latest snapshot with their codes; it mostly repeats."""

    accounts: list[str] = field(default_factory=list)
    inbound_tags: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)


class SampleCollector:
    """Takes snapshots in any order and gives their ``HourSamples``."""

    def __init__(self) -> None:
        self._nodes: dict[NodeKey, int] = {}
        self._series: dict[SeriesKey, int] = {}
        self._series_node: list[int] = []
        self._snapshots: dict[tuple[int, int], int] = {}
        self._snapshot_samples: list[int] = []
        self._layouts: dict[int, _Layout] = {}
        self._series_codes: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
        self._snapshot_codes: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
        self._uplink: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
        self._downlink: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
        self._bad: list[PlacedBadSample] = []

    def add(self, snapshot: Snapshot) -> None:
        node_key = NodeKey(snapshot.env, snapshot.node_id)
        node = self._nodes.setdefault(node_key, len(self._nodes))
        place = self._snapshots.setdefault((node, snapshot.instant_ns), len(self._snapshots))
        if place == len(self._snapshot_samples):
            self._snapshot_samples.append(0)
        self._snapshot_samples[place] += snapshot.samples
        codes = self._codes(node, node_key, snapshot)
        self._series_codes.append(np.array(codes, dtype=np.int64))
        self._snapshot_codes.append(np.full(len(codes), place, dtype=np.int64))
        self._uplink.append(np.array(snapshot.uplink_bytes_total, dtype=np.int64))
        self._downlink.append(np.array(snapshot.downlink_bytes_total, dtype=np.int64))
        self._bad += [
            PlacedBadSample(node, snapshot.instant_ns, bad) for bad in snapshot.bad_samples
        ]

    def _codes(self, node: int, node_key: NodeKey, snapshot: Snapshot) -> list[int]:
        layout = self._layouts.setdefault(node, _Layout())
        if layout.accounts == snapshot.accounts and layout.inbound_tags == snapshot.inbound_tags:
            return layout.codes
        codes = []
        for account, tag in zip(snapshot.accounts, snapshot.inbound_tags, strict=True):
            key = SeriesKey(*node_key, account, tag)
            code = self._series.setdefault(key, len(self._series))
            if code == len(self._series_node):
                self._series_node.append(node)
            codes.append(code)
        self._layouts[node] = _Layout(snapshot.accounts, snapshot.inbound_tags, codes)
        return codes

    def finish(self) -> HourSamples:
        snapshot_keys = np.array(list(self._snapshots), dtype=np.int64).reshape(-1, 2)
        order = np.lexsort((snapshot_keys[:, 1], snapshot_keys[:, 0]))
        position = np.empty(len(order), dtype=np.int64)
        position[order] = np.arange(len(order))
        snapshot_node, snapshot_ns = snapshot_keys[order, 0], snapshot_keys[order, 1]

        series = _concatenate(self._series_codes)
        snapshot = position[_concatenate(self._snapshot_codes)]
        instant_ns = snapshot_ns[snapshot]
        uplink, downlink = _concatenate(self._uplink), _concatenate(self._downlink)
        by_time = np.lexsort((instant_ns, series))
        series, snapshot, instant_ns = series[by_time], snapshot[by_time], instant_ns[by_time]
        uplink, downlink = uplink[by_time], downlink[by_time]

        # C3: a series at one instant counts once; of different values the larger, per counter.
        new = _starts(series) | _starts(instant_ns)
        starts = np.flatnonzero(new)
        conflicts = np.zeros(0, dtype=np.int64)
        duplicates = len(series) - len(starts)
        if duplicates:
            largest_up, largest_down = _reduce_max(uplink, starts), _reduce_max(downlink, starts)
            group = np.cumsum(new) - 1
            differs = (uplink != largest_up[group]) | (downlink != largest_down[group])
            conflicts = np.unique(group[differs])
            uplink, downlink = largest_up, largest_down
            series, snapshot, instant_ns = series[starts], snapshot[starts], instant_ns[starts]
        series_keys = list(self._series)
        bad = sorted(
            self._bad, key=lambda placed: (placed.instant_ns, placed.node, placed.sample.raw_text)
        )
        return HourSamples(
            nodes=list(self._nodes),
            series_keys=series_keys,
            series_node=np.array(self._series_node, dtype=np.int64),
            series=series,
            snapshot=snapshot,
            instant_ns=instant_ns,
            uplink=uplink,
            downlink=downlink,
            snapshot_node=snapshot_node,
            snapshot_ns=snapshot_ns,
            snapshot_samples=np.array(self._snapshot_samples, dtype=np.int64)[order],
            snapshot_hashes=_snapshot_hashes(
                series_keys, series, snapshot, uplink, downlink, snapshot_node, snapshot_ns, bad
            ),
            duplicates=duplicates,
            conflicts=conflicts,
            bad_samples=bad,
        )


def served_hour_digest(snapshots: Iterable[Snapshot]) -> tuple[int, int, bytes]:
    """Snapshots, samples and content hash of what is served for an hour, as C12 stores them."""
    collector = SampleCollector()
    for snapshot in snapshots:
        collector.add(snapshot)
    samples = collector.finish()
    return len(samples.snapshot_ns), samples.served_samples, samples.content_hash()


def _starts(values: Int64Array) -> BoolArray:
    """Where a run of equal values begins."""
    starts = np.ones(len(values), dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=starts[1:])
    return starts


def _concatenate(parts: list[np.ndarray[tuple[int], np.dtype[np.int64]]]) -> Int64Array:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _reduce_max(values: Int64Array, starts: Int64Array) -> Int64Array:
    result: Int64Array = np.maximum.reduceat(values, starts)
    return result


def _snapshot_hashes(
    series_keys: list[SeriesKey],
    series: Int64Array,
    snapshot: Int64Array,
    uplink: Int64Array,
    downlink: Int64Array,
    snapshot_node: Int64Array,
    snapshot_ns: Int64Array,
    bad: list[PlacedBadSample],
) -> list[bytes]:
    """Per snapshot a hash over its samples in an order of their own, and its bad samples' texts."""
    identities = [
        hashlib.blake2b(f"{key.account_uuid}\0{key.inbound_tag}".encode(), digest_size=HASH_BYTES)
        for key in series_keys
    ]
    identity = np.frombuffer(
        b"".join(item.digest() for item in identities), dtype=[("high", ">u8"), ("low", ">u8")]
    )
    rows = np.empty(
        len(series), dtype=[("high", ">u8"), ("low", ">u8"), ("up", ">i8"), ("down", ">i8")]
    )
    rows["high"], rows["low"] = identity["high"][series], identity["low"][series]
    rows["up"], rows["down"] = uplink, downlink
    order = np.lexsort((rows["low"], rows["high"], snapshot))
    rows = rows[order]
    bounds = np.searchsorted(snapshot[order], np.arange(len(snapshot_ns) + 1))
    texts: dict[tuple[int, int], list[str]] = {}
    for placed in bad:
        texts.setdefault((placed.node, placed.instant_ns), []).append(placed.sample.raw_text)
    hashes = []
    for place, key in enumerate(zip(snapshot_node.tolist(), snapshot_ns.tolist(), strict=True)):
        digest = hashlib.blake2b(
            rows[bounds[place] : bounds[place + 1]].tobytes(), digest_size=HASH_BYTES
        )
        for text in texts.get(key, ()):
            digest.update(b"\0" + text.encode())
        hashes.append(digest.digest())
    return hashes
