"""Deltas of an hour summed per series and minute, with resets, gaps and per-snapshot counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
        # Place of each series in ``samples.first``, and its last sample so far (0: none yet).
        self._place = np.zeros(series, dtype=np.int64)
        self._place[samples.first.series] = np.arange(len(samples.first.series))
        self._last_ns = np.zeros(series, dtype=np.int64)
        self._last_uplink = np.zeros(series, dtype=np.int64)
        self._last_downlink = np.zeros(series, dtype=np.int64)

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
        first = self._first
        starts_at = block.first_positions
        codes = block.series[starts_at]
        prev_ns = np.roll(block.instant_ns, 1)
        prev_uplink, prev_downlink = np.roll(block.uplink, 1), np.roll(block.downlink, 1)
        prev_ns[starts_at] = self._last_ns[codes]
        prev_uplink[starts_at] = self._last_uplink[codes]
        prev_downlink[starts_at] = self._last_downlink[codes]
        is_first = prev_ns == 0
        first_at = np.flatnonzero(is_first)
        of_first = self._place[block.series[first_at]]

        fell = ~is_first & ((block.uplink < prev_uplink) | (block.downlink < prev_downlink))
        uplink = block.uplink - np.where(fell, 0, prev_uplink)
        downlink = block.downlink - np.where(fell, 0, prev_downlink)
        minute = block.instant_ns // NS_PER_MINUTE
        spans = np.maximum(minute - prev_ns // NS_PER_MINUTE, 1)
        uplink[first_at], downlink[first_at] = first.uplink[of_first], first.downlink[of_first]
        spans[first_at] = first.spans_minutes[of_first]
        is_reset = fell.copy()
        is_reset[first_at] = first.is_reset[of_first]
        quantity = uplink + downlink
        estimate = uplink.astype(np.float64) + downlink

        self._note_events(block, ~is_first, fell, prev_ns, quantity)
        at = np.flatnonzero(fell)
        self._resets.append(
            SeriesResets(
                block.series[at],
                block.snapshot[at],
                block.instant_ns[at],
                prev_uplink[at],
                prev_downlink[at],
                block.uplink[at],
                block.downlink[at],
            )
        )
        place = self._place[block.series[at]]
        self.reset_after_first[
            place[minute[at] == self._samples.first.instant_ns[place] // NS_PER_MINUTE]
        ] = True
        inner = np.flatnonzero(~is_first)
        np.add.at(self._quantity, block.snapshot[inner], quantity[inner])
        np.add.at(self._quantity_estimate, block.snapshot[inner], estimate[inner])
        ends_at = np.append(starts_at[1:], len(block.series))[: len(starts_at)] - 1
        self._last_ns[codes] = block.instant_ns[ends_at]
        self._last_uplink[codes] = block.uplink[ends_at]
        self._last_downlink[codes] = block.downlink[ends_at]
        return self._summed(block, minute, uplink, downlink, spans, is_reset, estimate)

    def _note_events(
        self,
        block: SampleBlock,
        is_inner: BoolArray,
        fell: BoolArray,
        prev_ns: Int64Array,
        quantity: Int64Array,
    ) -> None:
        snapshots = len(self.compared)
        inner = np.flatnonzero(is_inner)
        elapsed_ns = block.instant_ns[inner] - prev_ns[inner]
        absent = inner[
            (elapsed_ns > self._policy.gap_ns)
            & (quantity[inner] > 0)
            & (self._snapshot_prev_ns[block.snapshot[inner]] > prev_ns[inner])
        ]
        exceeded = inner[self._policy.exceeds_rate(quantity[inner], elapsed_ns)]
        for at, into in ((absent, self._absences), (exceeded, self._exceeded)):
            into.append(
                SeriesEvents(block.series[at], prev_ns[at], block.instant_ns[at], quantity[at])
            )
        self.compared += np.bincount(block.snapshot[inner], minlength=snapshots)
        self.fell += np.bincount(block.snapshot[fell], minlength=snapshots)

    def _summed(
        self,
        block: SampleBlock,
        minute: Int64Array,
        uplink: Int64Array,
        downlink: Int64Array,
        spans: Int64Array,
        is_reset: BoolArray,
        estimate: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    ) -> MinuteFacts:
        new_minute = np.ones(len(minute), dtype=np.bool_)
        new_minute[1:] = (minute[1:] != minute[:-1]) | (block.series[1:] != block.series[:-1])
        starts = np.flatnonzero(new_minute)
        fact_up = np.add.reduceat(uplink, starts)
        fact_down = np.add.reduceat(downlink, starts)
        fact_estimate = np.add.reduceat(estimate, starts)
        refuse_wrapped(
            fact_up + fact_down,
            fact_estimate,
            minute[starts],
            lambda at: str(self._samples.series_keys[block.series[starts[at]]]),
        )
        has_bytes = (fact_up + fact_down) > 0
        return MinuteFacts(
            series=block.series[starts][has_bytes],
            minute=minute[starts][has_bytes],
            uplink=fact_up[has_bytes],
            downlink=fact_down[has_bytes],
            spans_minutes=np.maximum.reduceat(spans, starts)[has_bytes],
            is_reset=np.logical_or.reduceat(is_reset, starts)[has_bytes],
        )
