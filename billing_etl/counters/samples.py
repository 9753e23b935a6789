"""Snapshots into sorted columns: identity, order, duplicates, content hashes (C2, C3, C6)."""

import hashlib
import re
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from billing_etl.counters.series import NodeKey, SeriesNames, SeriesTable
from billing_etl.hours import NS_PER_MINUTE, format_instant_ns
from billing_etl.masking import UUID_IN_TEXT
from billing_etl.records import BadSample, BoolArray, Int64Array, Snapshot

HASH_BYTES: Final = 16
# Large enough for work on whole columns; small enough that little is held. The first blocks are
# smaller, so that writing begins with the first page; each is twice the one before it.
BLOCK_SAMPLES = 100_000
_FIRST_BLOCK_SHARE: Final = 5
_NO_MINUTE: Final = 2**31 - 1
# In the text of a bad sample, with or without its hyphens.
_IDENTITY: Final = np.dtype([("high", ">u8"), ("low", ">u8")])


class PlacedBadSample(NamedTuple):
    """A quarantined sample with the place where it was served."""

    node: int
    instant_ns: int
    sample: BadSample


@dataclass(frozen=True, slots=True)
class SampleBlock:
    """Usable samples of whole minutes, each series at each instant once; parallel arrays.

    Codes are positions: ``series[i]`` indexes the hour's ``series_keys``, ``snapshot[i]`` its
    ``snapshot_*`` arrays. Sorted by series, then instant. Totals are cumulative bytes.

    Attributes:
        from_minute, until_minute: the minutes of the block; those of all blocks are all minutes.
    """

    series: Int64Array
    snapshot: Int64Array
    instant_ns: Int64Array
    uplink: Int64Array
    downlink: Int64Array
    from_minute: int
    until_minute: int

    @property
    def first_positions(self) -> Int64Array:
        """Position of the first sample of each series present, in series order."""
        return np.flatnonzero(_starts(self.series))

    def recoded(self, codes: Int64Array) -> "SampleBlock":
        """The samples of series that have another code, under that one; -1: left out."""
        series = codes[self.series]
        at = slice(None) if (series >= 0).all() else np.flatnonzero(series >= 0)
        return SampleBlock(
            series=series[at],
            snapshot=self.snapshot[at],
            instant_ns=self.instant_ns[at],
            uplink=self.uplink[at],
            downlink=self.downlink[at],
            from_minute=self.from_minute,
            until_minute=self.until_minute,
        )


OnBlock: TypeAlias = Callable[[SampleBlock, SeriesNames], None]
# What an account is called here, by the uuid with which it is served.
StoredName: TypeAlias = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class SeriesSamples:
    """One sample per series, sorted by series; parallel arrays, codes as in ``SampleBlock``."""

    series: Int64Array
    snapshot: Int64Array
    instant_ns: Int64Array
    uplink: Int64Array
    downlink: Int64Array


@dataclass(frozen=True, slots=True)
class SeriesEvents:
    """What happened to series, each in a stretch of time; parallel arrays."""

    series: Int64Array
    from_ns: Int64Array
    until_ns: Int64Array
    quantity: Int64Array

    @classmethod
    def joined(cls, parts: Sequence["SeriesEvents"]) -> "SeriesEvents":
        names = cls.__dataclass_fields__
        return cls(
            **{name: _concatenate([getattr(part, name) for part in parts]) for name in names}
        )


@dataclass(frozen=True, slots=True)
class HourSamples:
    """The usable samples of a window, each series at each instant once.

    ``series_node[s]`` indexes ``nodes``. The samples themselves come block by block, so that
    an hour takes no more memory than a block and what is known of each series.

    Attributes:
        first, last: of each series present, its first and its last sample.
        used_samples: samples in all blocks.
        snapshot_node, snapshot_ns, snapshot_samples, snapshot_hashes: one entry per (node,
            instant), sorted; samples as served, usable or not.
        duplicates: samples that repeated a series at an instant (C3, C6).
        conflicts: samples whose repetitions had other values, with the totals used (C3).
    """

    nodes: Sequence[NodeKey]
    series_keys: SeriesNames
    first: SeriesSamples
    last: SeriesSamples
    used_samples: int
    snapshot_node: Int64Array
    snapshot_ns: Int64Array
    snapshot_samples: Int64Array
    snapshot_hashes: list[bytes]
    duplicates: int
    conflicts: SeriesEvents
    bad_samples: list[PlacedBadSample]
    _store: "_BlockStore"
    _position: Int64Array

    @property
    def series_node(self) -> Int64Array:
        return self.series_keys.node

    @property
    def served_samples(self) -> int:
        return int(self.snapshot_samples.sum())

    def blocks(self) -> Iterator[SampleBlock]:
        """All samples, in blocks of growing minutes; may be asked for again."""
        for block in self._store.blocks():
            snapshot = self._position[block.snapshot]
            yield SampleBlock(
                series=block.series,
                snapshot=snapshot,
                instant_ns=self.snapshot_ns[snapshot],
                uplink=block.uplink,
                downlink=block.downlink,
                from_minute=block.from_minute,
                until_minute=block.until_minute,
            )

    def ends_within(self, start_ns: int, end_ns: int) -> tuple[SeriesSamples, SeriesSamples]:
        """The first and the last sample of each series within a part of the window."""
        firsts, lasts = [], []
        for block in self.blocks():
            at = np.flatnonzero((block.instant_ns >= start_ns) & (block.instant_ns < end_ns))
            is_start = _starts(block.series[at])
            firsts.append(_samples_at(block, at[is_start]))
            lasts.append(_samples_at(block, at[np.roll(is_start, -1)]))
        return _one_per_series(firsts), _one_per_series(lasts[::-1])

    def content_hash(self) -> bytes:
        """Hash of every (node, instant, content), independent of pages and serving order."""
        rows = zip(
            self.snapshot_node.tolist(),
            self.snapshot_ns.tolist(),
            self.snapshot_hashes,
            strict=True,
        )
        return content_hash((self.nodes[node], instant, content) for node, instant, content in rows)


def _samples_at(block: SampleBlock, at: Int64Array) -> SeriesSamples:
    return SeriesSamples(
        **{name: getattr(block, name)[at] for name in SeriesSamples.__dataclass_fields__}
    )


def _one_per_series(parts: list[SeriesSamples]) -> SeriesSamples:
    """Of each series the sample in the first part that has one."""
    names = SeriesSamples.__dataclass_fields__
    columns = {name: _concatenate([getattr(part, name) for part in parts]) for name in names}
    order = np.argsort(columns["series"], kind="stable")
    at = order[_starts(columns["series"][order])]
    return SeriesSamples(**{name: values[at] for name, values in columns.items()})


@dataclass(slots=True)
class _Layout:
    """The accounts and tags of a node's latest snapshot with their codes; it mostly repeats."""

    accounts: list[str] = field(default_factory=list)
    inbound_tags: list[str] = field(default_factory=list)
    codes: Int64Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


class _Block(NamedTuple):
    """A block as it waits: ``snapshot`` counts snapshots in the order of their arrival."""

    series: Int64Array
    snapshot: Int64Array
    uplink: Int64Array
    downlink: Int64Array
    from_minute: int
    until_minute: int


class _BlockStore:
    """Blocks of samples; all but the newest wait in a temporary file."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int]] = []
        self._newest: _Block | None = None

    def append(self, block: _Block) -> None:
        if self._newest is not None:
            if not self._waiting:
                self._file = tempfile.TemporaryFile(prefix="billing-etl-")  # noqa: SIM115
            for column in self._newest[:4]:
                np.save(self._file, column)
            self._waiting.append((self._newest.from_minute, self._newest.until_minute))
        self._newest = block

    def blocks(self) -> Iterator[_Block]:
        if self._waiting:
            self._file.seek(0)
        for minutes in self._waiting:
            series, snapshot, uplink, downlink = (np.load(self._file) for _ in range(4))
            yield _Block(series, snapshot, uplink, downlink, *minutes)
        if self._newest is not None:
            yield self._newest


class _Ends:
    """The first and the last sample of each series so far, by its code."""

    def __init__(self) -> None:
        self._columns = {
            f"{end}_{name}": np.zeros(0, dtype=np.int64)
            for end in ("first", "last")
            for name in ("snapshot", "uplink", "downlink")
        }

    def take(self, block: _Block, series_count: int) -> None:
        grown = series_count - len(self._columns["first_snapshot"])
        for name, values in self._columns.items():
            self._columns[name] = np.concatenate([values, np.full(grown, -1, dtype=np.int64)])
        starts = np.flatnonzero(_starts(block.series))
        lasts = np.append(starts[1:], len(block.series))[: len(starts)] - 1
        is_new = self._columns["first_snapshot"][block.series[starts]] < 0
        for end, at in (("first", starts[is_new]), ("last", lasts)):
            for name in ("snapshot", "uplink", "downlink"):
                self._columns[f"{end}_{name}"][block.series[at]] = getattr(block, name)[at]

    def samples(self, end: str, position: Int64Array, snapshot_ns: Int64Array) -> SeriesSamples:
        series = np.flatnonzero(self._columns["first_snapshot"] >= 0)
        snapshot = position[self._columns[f"{end}_snapshot"][series]]
        return SeriesSamples(
            series=series,
            snapshot=snapshot,
            instant_ns=snapshot_ns[snapshot],
            uplink=self._columns[f"{end}_uplink"][series],
            downlink=self._columns[f"{end}_downlink"][series],
        )


class SampleCollector:
    """Takes snapshots and gives their ``HourSamples``.

    Args:
        block_samples: a block ends with the minute in which it got as many, or less at first;
            usually ``BLOCK_SAMPLES``. Snapshots may come in
            any order within a block; never before one that has ended.
        on_block: gets each block as it ends, with the names of the series that are new in it; its
            ``snapshot`` counts snapshots in the order of their arrival.
        stored_name: gives names to accounts; None: they are called as they are served. Hashes are
            of what was served in any case: giving an account another name changes none.
    """

    def __init__(
        self,
        block_samples: int | None = None,
        on_block: OnBlock | None = None,
        stored_name: StoredName | None = None,
    ) -> None:
        self._most_samples = BLOCK_SAMPLES if block_samples is None else block_samples
        self._block_samples = self._most_samples // _FIRST_BLOCK_SHARE
        self._on_block = on_block
        self._stored_name = stored_name
        self._served_names: dict[str, str] = {}
        self._series = SeriesTable()
        self._identities = np.zeros(0, dtype=_IDENTITY)
        self._layouts: dict[int, _Layout] = {}
        # Snapshots in the order of their arrival.
        self._snapshots: dict[tuple[int, int], int] = {}
        self._snapshot_samples: list[int] = []
        self._snapshot_hashes: list[bytes] = []
        self._bad: list[PlacedBadSample] = []
        # The block that is being filled.
        self._series_codes: list[Int64Array] = []
        self._snapshot_codes: list[Int64Array] = []
        self._uplink: list[Int64Array] = []
        self._downlink: list[Int64Array] = []
        self._open_samples = 0
        self._from_minute = 0
        self._newest_minute = 0
        # What is known of the blocks that were filled.
        self._store = _BlockStore()
        self._ends = _Ends()
        self._used = self._duplicates = 0
        self._conflicts: list[SeriesEvents] = []

    def add(self, snapshot: Snapshot) -> None:
        """Takes a snapshot.

        Raises:
            ValueError: it belongs to a block that has ended.
        """
        minute = snapshot.instant_ns // NS_PER_MINUTE
        if minute < self._from_minute:
            raise ValueError(
                f"expected snapshots from {format_instant_ns(self._from_minute * NS_PER_MINUTE)} "
                f"on, got one of {format_instant_ns(snapshot.instant_ns)}"
            )
        if self._open_samples >= self._block_samples and minute > self._newest_minute:
            self._end_block(minute)
        self._newest_minute = max(self._newest_minute, minute)
        node = self._series.node(NodeKey(snapshot.env, snapshot.node_id))
        place = self._snapshots.setdefault((node, snapshot.instant_ns), len(self._snapshots))
        if place == len(self._snapshot_samples):
            self._snapshot_samples.append(0)
        self._snapshot_samples[place] += snapshot.samples
        codes = self._codes(node, snapshot)
        self._series_codes.append(codes)
        self._snapshot_codes.append(np.full(len(codes), place, dtype=np.int64))
        self._uplink.append(np.asarray(snapshot.uplink_bytes_total, dtype=np.int64))
        self._downlink.append(np.asarray(snapshot.downlink_bytes_total, dtype=np.int64))
        self._open_samples += len(codes)
        self._bad += [
            PlacedBadSample(node, snapshot.instant_ns, bad) for bad in snapshot.bad_samples
        ]

    def _codes(self, node: int, snapshot: Snapshot) -> Int64Array:
        layout = self._layouts.setdefault(node, _Layout())
        # Lists are compared by their texts; texts that are the same object at once.
        if layout.accounts == snapshot.accounts and layout.inbound_tags == snapshot.inbound_tags:
            return layout.codes
        accounts = snapshot.accounts
        if self._stored_name is not None:
            accounts = [self._stored_name(each) for each in accounts]
            self._served_names |= zip(accounts, snapshot.accounts, strict=True)
        codes = self._series.codes(node, accounts, snapshot.inbound_tags)
        self._layouts[node] = _Layout(snapshot.accounts, snapshot.inbound_tags, codes)
        return codes

    def _end_block(self, until_minute: int) -> None:
        """Sorts what was added since the last block, each series at an instant once (C3)."""
        snapshot_ns = np.array([ns for _, ns in self._snapshots], dtype=np.int64)
        series, snapshot = _concatenate(self._series_codes), _concatenate(self._snapshot_codes)
        uplink, downlink = _concatenate(self._uplink), _concatenate(self._downlink)
        self._series_codes, self._snapshot_codes, self._uplink, self._downlink = [], [], [], []
        self._open_samples = 0
        instant_ns = snapshot_ns[snapshot]
        if (np.diff(instant_ns) >= 0).all():  # as it comes from an exporter
            by_time = np.argsort(series, kind="stable")
        else:
            by_time = np.lexsort((instant_ns, series))
        series, snapshot, instant_ns = series[by_time], snapshot[by_time], instant_ns[by_time]
        uplink, downlink = uplink[by_time], downlink[by_time]

        new = _starts(series) | _starts(instant_ns)
        starts = np.flatnonzero(new)
        if len(starts) < len(series):
            self._duplicates += len(series) - len(starts)
            largest_up, largest_down = _reduce_max(uplink, starts), _reduce_max(downlink, starts)
            group = np.cumsum(new) - 1
            differs = (uplink != largest_up[group]) | (downlink != largest_down[group])
            at = np.unique(group[differs])
            uplink, downlink = largest_up, largest_down
            series, snapshot, instant_ns = series[starts], snapshot[starts], instant_ns[starts]
            self._conflicts.append(
                SeriesEvents(series[at], instant_ns[at], instant_ns[at], uplink[at] + downlink[at])
            )
        self._used += len(series)
        block = _Block(series, snapshot, uplink, downlink, self._from_minute, until_minute)
        self._ends.take(block, len(self._series))
        names = self._series.names()
        new_names = names[len(self._identities) :]
        self._identities = np.concatenate(
            [self._identities, _identities(new_names, self._served_names)]
        )
        self._hash_snapshots(block)
        self._store.append(block)
        self._from_minute = until_minute
        self._block_samples = min(2 * self._block_samples, self._most_samples)
        if self._on_block is not None:
            ended = SampleBlock(
                series, snapshot, instant_ns, uplink, downlink, block.from_minute, until_minute
            )
            self._on_block(ended, new_names)

    def _hash_snapshots(self, block: _Block) -> None:
        """Per snapshot a hash over its samples in an order of their own, and its bad samples."""
        identity = self._identities
        rank = np.empty(len(identity), dtype=np.int64)
        rank[np.lexsort((identity["low"], identity["high"]))] = np.arange(len(identity))
        first = len(self._snapshot_hashes)
        snapshots = len(self._snapshots) - first
        place = block.snapshot - first
        order = np.argsort(place * len(identity) + rank[block.series])
        series = block.series[order]
        rows = np.empty(
            len(series), dtype=[("high", ">u8"), ("low", ">u8"), ("up", ">i8"), ("down", ">i8")]
        )
        rows["high"], rows["low"] = identity["high"][series], identity["low"][series]
        rows["up"], rows["down"] = block.uplink[order], block.downlink[order]
        bounds = np.searchsorted(place[order], np.arange(snapshots + 1))
        texts: dict[tuple[int, int], list[str]] = {}
        for placed in self._bad:
            texts.setdefault((placed.node, placed.instant_ns), []).append(placed.sample.raw_text)
        for at, key in enumerate(islice(self._snapshots, first, None)):
            digest = hashlib.blake2b(
                rows[bounds[at] : bounds[at + 1]].tobytes(), digest_size=HASH_BYTES
            )
            for text in sorted(texts.get(key, ())):
                digest.update(b"\0" + text.encode())
            self._snapshot_hashes.append(digest.digest())

    def finish(self) -> HourSamples:
        """Everything that was added; nothing more may be."""
        self._end_block(_NO_MINUTE)
        arrived = np.array(list(self._snapshots), dtype=np.int64).reshape(-1, 2)
        order = np.lexsort((arrived[:, 1], arrived[:, 0]))
        position = np.empty(len(order), dtype=np.int64)
        position[order] = np.arange(len(order))
        snapshot_ns = arrived[order, 1]
        names = self._series.names()
        return HourSamples(
            nodes=names.nodes,
            series_keys=names,
            first=self._ends.samples("first", position, snapshot_ns),
            last=self._ends.samples("last", position, snapshot_ns),
            used_samples=self._used,
            snapshot_node=arrived[order, 0],
            snapshot_ns=snapshot_ns,
            snapshot_samples=np.array(self._snapshot_samples, dtype=np.int64)[order],
            snapshot_hashes=[self._snapshot_hashes[at] for at in order.tolist()],
            duplicates=self._duplicates,
            conflicts=SeriesEvents.joined(self._conflicts),
            bad_samples=sorted(
                map(self._as_stored, self._bad),
                key=lambda placed: (placed.instant_ns, placed.node, placed.sample.raw_text),
            ),
            _store=self._store,
            _position=position,
        )

    def _as_stored(self, placed: PlacedBadSample) -> PlacedBadSample:
        if self._stored_name is None:
            return placed
        sample = placed.sample
        return placed._replace(
            sample=replace(
                sample,
                raw_text=UUID_IN_TEXT.sub(self._renamed, sample.raw_text),
                account_uuid=sample.account_uuid and self._stored_name(sample.account_uuid),
            )
        )

    def _renamed(self, found: re.Match[str]) -> str:
        """A uuid in a text, as it is spelled unless the account is called otherwise here."""
        assert self._stored_name is not None
        served = str(uuid.UUID(found[0]))
        stored = self._stored_name(served)
        return found[0] if stored == served else stored


def content_hash(snapshots: Iterable[tuple[NodeKey, int, bytes]]) -> bytes:
    """Hash of every (node, instant in nanoseconds, content hash) of a source-hour (C12)."""
    digest = hashlib.blake2b(digest_size=HASH_BYTES)
    for node, instant_ns, content in sorted(snapshots):
        digest.update(f"{node.env}\0{node.node_id}\0{instant_ns}\0".encode())
        digest.update(content)
    return digest.digest()


def served_hour_digest(snapshots: Iterable[Snapshot]) -> tuple[int, int, bytes]:
    """Snapshots, samples and content hash of what is served for an hour, as C12 stores them."""
    collector = SampleCollector()
    for snapshot in snapshots:
        collector.add(snapshot)
    samples = collector.finish()
    return len(samples.snapshot_ns), samples.served_samples, samples.content_hash()


def _identities(names: SeriesNames, served: Mapping[str, str]) -> NDArray[np.void]:
    """Of each series a hash of its account and tag: the same in every hour, whatever its code."""
    digests = [
        hashlib.blake2b(
            f"{served.get(name.account_uuid, name.account_uuid)}\0{name.inbound_tag}".encode(),
            digest_size=HASH_BYTES,
        )
        for name in names
    ]
    return np.frombuffer(b"".join(each.digest() for each in digests), dtype=_IDENTITY)


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
