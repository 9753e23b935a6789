"""Deltas of an hour summed per series and minute, with resets, gaps and per-snapshot counts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from billing_etl.counters.first_deltas import FirstDeltas
from billing_etl.counters.limits import cut_wrapped, refuse_wrapped
from billing_etl.counters.policy import CounterPolicy
from billing_etl.counters.samples import HourSamples, SampleBlock, SeriesEvents
from billing_etl.hours import NS_PER_MINUTE
from billing_etl.records import BoolArray, Int64Array


@dataclass(frozen=True, slots=True)
class MinuteFacts:
    """What series moved in minutes with bytes (C8-C10), sorted by series, minute; parallel arrays.

    ``series`` is the code that ``HourSamples`` gave it.
    """

    series: Int64Array
    minute: Int64Array
    uplink: Int64Array
    downlink: Int64Array
    spans_minutes: Int64Array
    is_reset: BoolArray

    @property
    def total(self) -> int:
        """Bytes of all of them, modulo 2^64: enough to tell one set from another."""
        return int(self.uplink.sum() + self.downlink.sum())

    def at(self, where: BoolArray) -> "MinuteFacts":
        """Some of them."""
        if where.all():
            return self
        return MinuteFacts(**{name: getattr(self, name)[where] for name in self.__slots__})


@dataclass(frozen=True, slots=True)
class SeriesResets:
    """Counter resets between samples of the same hour (C5); parallel arrays, codes as above."""

    series: Int64Array
    snapshot: Int64Array
    instant_ns: Int64Array
    uplink_before: Int64Array
    downlink_before: Int64Array
    uplink_after: Int64Array
    downlink_after: Int64Array

    @classmethod
    def joined(cls, parts: Sequence["SeriesResets"]) -> "SeriesResets":
        nothing = [np.zeros(0, dtype=np.int64)]
        return cls(
            **{
                name: np.concatenate(nothing + [getattr(part, name) for part in parts])
                for name in cls.__dataclass_fields__
            }
        )


class LastSamples:
    """The last sample of each series so far, from which its next delta is measured (C4).

    Args:
        instant_ns, uplink, downlink: per series, by its code; ``instant_ns`` 0: none yet.
    """

    def __init__(self, instant_ns: Int64Array, uplink: Int64Array, downlink: Int64Array) -> None:
        self._instant_ns, self._uplink, self._downlink = instant_ns, uplink, downlink

    @classmethod
    def none(cls, series: int) -> "LastSamples":
        return cls(*(np.zeros(series, dtype=np.int64) for _ in range(3)))

    def deltas(self, block: SampleBlock) -> "Deltas":
        """The deltas of the next block's samples, whose last ones are the last from now on."""
        starts_at = block.first_positions
        codes = block.series[starts_at]
        prev_ns = np.roll(block.instant_ns, 1)
        prev_uplink, prev_downlink = np.roll(block.uplink, 1), np.roll(block.downlink, 1)
        prev_ns[starts_at] = self._instant_ns[codes]
        prev_uplink[starts_at] = self._uplink[codes]
        prev_downlink[starts_at] = self._downlink[codes]
        ends_at = np.append(starts_at[1:], len(block.series))[: len(starts_at)] - 1
        self._instant_ns[codes] = block.instant_ns[ends_at]
        self._uplink[codes] = block.uplink[ends_at]
        self._downlink[codes] = block.downlink[ends_at]
        return Deltas(block, prev_ns, prev_uplink, prev_downlink)


class Deltas:
    """Deltas of a block's samples (C4, C5, C9); parallel to them.

    Attributes:
        prev_ns, prev_uplink, prev_downlink: what each is measured from; ``prev_ns`` 0: nothing.
        fell: a counter fell, so both count from zero (C5).
        uplink, downlink, spans_minutes, is_reset: the deltas; where nothing is before a sample,
            the caller says what its delta is.
    """

    def __init__(
        self,
        block: SampleBlock,
        prev_ns: Int64Array,
        prev_uplink: Int64Array,
        prev_downlink: Int64Array,
    ) -> None:
        self._block = block
        self.prev_ns, self.prev_uplink, self.prev_downlink = prev_ns, prev_uplink, prev_downlink
        is_known = prev_ns != 0
        self.fell = is_known & ((block.uplink < prev_uplink) | (block.downlink < prev_downlink))
        self.uplink = block.uplink - np.where(self.fell, 0, prev_uplink)
        self.downlink = block.downlink - np.where(self.fell, 0, prev_downlink)
        self.minute = block.instant_ns // NS_PER_MINUTE
        self.spans_minutes = np.maximum(self.minute - prev_ns // NS_PER_MINUTE, 1)
        self.is_reset = self.fell.copy()

    @property
    def quantity(self) -> Int64Array:
        return self.uplink + self.downlink

    @property
    def estimate(self) -> NDArray[np.float64]:
        """The quantity as a float, which does not wrap."""
        return self.uplink.astype(np.float64) + self.downlink

    def facts(self, name: Callable[[int], str]) -> MinuteFacts:
        """Their sums per series and minute (C8-C10).

        Args:
            name: the name of a series, by its code.

        Raises:
            TerminalError: the bytes of a series in a minute do not fit 64 bits.
        """
        series, minute = self._block.series, self.minute
        new_minute = np.ones(len(minute), dtype=np.bool_)
        new_minute[1:] = (minute[1:] != minute[:-1]) | (series[1:] != series[:-1])
        starts = np.flatnonzero(new_minute)
        uplink = np.add.reduceat(self.uplink, starts)
        downlink = np.add.reduceat(self.downlink, starts)
        refuse_wrapped(
            uplink + downlink,
            np.add.reduceat(self.estimate, starts),
            minute[starts],
            lambda at: name(int(series[starts[at]])),
        )
        has_bytes = (uplink + downlink) > 0
        return MinuteFacts(
            series=series[starts][has_bytes],
            minute=minute[starts][has_bytes],
            uplink=uplink[has_bytes],
            downlink=downlink[has_bytes],
            spans_minutes=np.maximum.reduceat(self.spans_minutes, starts)[has_bytes],
            is_reset=np.logical_or.reduceat(self.is_reset, starts)[has_bytes],
        )


class HourDeltas:
    """Sums an hour's deltas per series and minute, block by block (C4, C5, C8-C10).

    Args:
        samples: the hour's samples; every block of them is given to ``facts_of``, in order.
        first: judged first deltas, parallel to ``samples.first``.
        snapshot_prev_ns: per snapshot, the node's snapshot before it, in the hour or earlier.
        policy: the source's parameters.

    Attributes:
        compared, fell: per snapshot, over deltas between samples of the same hour.
        reset_after_first: per present series, a reset later within its first minute.
    """

    def __init__(
        self,
        samples: HourSamples,
        first: FirstDeltas,
        snapshot_prev_ns: Int64Array,
        policy: CounterPolicy,
    ) -> None:
        snapshots, series = len(samples.snapshot_ns), len(samples.series_keys)
        self._samples, self._first, self._policy = samples, first, policy
        self._snapshot_prev_ns = snapshot_prev_ns
        self.compared = np.zeros(snapshots, dtype=np.int64)
        self.fell = np.zeros(snapshots, dtype=np.int64)
        self.reset_after_first = np.zeros(len(samples.first.series), dtype=np.bool_)
        self._quantity = np.zeros(snapshots, dtype=np.int64)
        self._quantity_estimate = np.zeros(snapshots)
        self._resets: list[SeriesResets] = []
        self._absences: list[SeriesEvents] = []
        self._exceeded: list[SeriesEvents] = []
        # Place of each series in ``samples.first``.
        self._place = np.zeros(series, dtype=np.int64)
        self._place[samples.first.series] = np.arange(len(samples.first.series))
        self._last = LastSamples.none(series)

    @property
    def quantity(self) -> Int64Array:
        """Per snapshot, bytes of the deltas between samples of the same hour."""
        return cut_wrapped(self._quantity, self._quantity_estimate)

    @property
    def resets(self) -> SeriesResets:
        """Resets between samples of the same hour."""
        return SeriesResets.joined(self._resets)

    @property
    def absences(self) -> SeriesEvents:
        """Deltas from a sample of the same hour that followed an absence of the series (C9)."""
        return SeriesEvents.joined(self._absences)

    @property
    def exceeded(self) -> SeriesEvents:
        """Deltas from a sample of the same hour that were too fast (C7)."""
        return SeriesEvents.joined(self._exceeded)

    def facts_of(self, block: SampleBlock) -> MinuteFacts:
        """The facts of the next block.

        Raises:
            TerminalError: the bytes of a series in a minute do not fit 64 bits.
        """
        first, deltas = self._first, self._last.deltas(block)
        is_first = deltas.prev_ns == 0
        first_at = np.flatnonzero(is_first)
        of_first = self._place[block.series[first_at]]
        deltas.uplink[first_at] = first.uplink[of_first]
        deltas.downlink[first_at] = first.downlink[of_first]
        deltas.spans_minutes[first_at] = first.spans_minutes[of_first]
        deltas.is_reset[first_at] = first.is_reset[of_first]
        self._note_resets(block, deltas)
        self._note_inner(block, deltas, np.flatnonzero(~is_first))
        return deltas.facts(lambda code: str(self._samples.series_keys[code]))

    def _note_resets(self, block: SampleBlock, deltas: Deltas) -> None:
        at = np.flatnonzero(deltas.fell)
        self._resets.append(
            SeriesResets(
                block.series[at],
                block.snapshot[at],
                block.instant_ns[at],
                deltas.prev_uplink[at],
                deltas.prev_downlink[at],
                block.uplink[at],
                block.downlink[at],
            )
        )
        place = self._place[block.series[at]]
        first_minute = self._samples.first.instant_ns[place] // NS_PER_MINUTE
        self.reset_after_first[place[deltas.minute[at] == first_minute]] = True
        self.fell += np.bincount(block.snapshot[at], minlength=len(self.fell))

    def _note_inner(self, block: SampleBlock, deltas: Deltas, inner: Int64Array) -> None:
        """What deltas between samples of the same hour show."""
        snapshot, prev_ns = block.snapshot[inner], deltas.prev_ns[inner]
        quantity = deltas.quantity[inner]
        elapsed_ns = block.instant_ns[inner] - prev_ns
        absent = inner[
            (elapsed_ns > self._policy.gap_ns)
            & (quantity > 0)
            & (self._snapshot_prev_ns[snapshot] > prev_ns)
        ]
        exceeded = inner[self._policy.exceeds_rate(quantity, elapsed_ns)]
        for at, into in ((absent, self._absences), (exceeded, self._exceeded)):
            into.append(
                SeriesEvents(
                    block.series[at],
                    deltas.prev_ns[at],
                    block.instant_ns[at],
                    deltas.quantity[at],
                )
            )
        self.compared += np.bincount(snapshot, minlength=len(self.compared))
        np.add.at(self._quantity, snapshot, quantity)
        np.add.at(self._quantity_estimate, snapshot, deltas.estimate[inner])
