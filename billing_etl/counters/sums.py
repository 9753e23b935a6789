"""Deltas of an hour summed per series and minute, with resets, gaps and per-snapshot counts."""

from dataclasses import dataclass

import numpy as np

from billing_etl.counters.first_deltas import FirstDeltas
from billing_etl.counters.limits import cut_wrapped, refuse_wrapped
from billing_etl.counters.policy import CounterPolicy
from billing_etl.counters.samples import HourSamples
from billing_etl.hours import NS_PER_MINUTE
from billing_etl.records import BoolArray, Int64Array


@dataclass(frozen=True, slots=True)
class HourDeltas:
    """What the samples of an hour say, in codes of ``HourSamples``.

    Attributes:
        fact_*: one entry per series and minute with bytes (C8-C10), sorted by series, minute.
        first, last: positions of each present series' first and last sample.
        reset_after_first: per present series, a reset later within its first minute.
        inner_reset, inner_absent, inner_exceeded: positions of samples whose delta from a sample
            of the same hour was a reset (C5), followed an absence (C9), or was too fast (C7).
        compared, fell, quantity: per snapshot, over deltas between samples of the same hour.
        delta_quantity: bytes of every sample's delta, by position.
    """

    fact_series: Int64Array
    fact_minute: Int64Array
    fact_uplink: Int64Array
    fact_downlink: Int64Array
    fact_spans_minutes: Int64Array
    fact_is_reset: BoolArray
    first: Int64Array
    last: Int64Array
    reset_after_first: BoolArray
    inner_reset: Int64Array
    inner_absent: Int64Array
    inner_exceeded: Int64Array
    compared: Int64Array
    fell: Int64Array
    quantity: Int64Array
    delta_quantity: Int64Array


def hour_deltas(
    samples: HourSamples, first: FirstDeltas, snapshot_prev_ns: Int64Array, policy: CounterPolicy
) -> HourDeltas:
    """Sums an hour's deltas per series and minute (C4, C5, C8-C10).

    Args:
        samples: the hour's samples.
        first: judged first deltas, parallel to ``samples.first_positions``.
        snapshot_prev_ns: per snapshot, the node's snapshot before it, in the hour or earlier.
        policy: the source's parameters.

    Raises:
        TerminalError: the bytes of a series in a minute do not fit 64 bits.
    """
    count = len(samples.series)
    first_at = samples.first_positions
    is_first = np.zeros(count, dtype=np.bool_)
    is_first[first_at] = True
    last_at = np.append(first_at[1:] - 1, count - 1) if count else first_at

    previous = np.arange(count) - 1
    prev_ns = samples.instant_ns[previous]
    fell = ~is_first & (
        (samples.uplink < samples.uplink[previous])
        | (samples.downlink < samples.downlink[previous])
    )
    uplink = samples.uplink - np.where(fell, 0, samples.uplink[previous])
    downlink = samples.downlink - np.where(fell, 0, samples.downlink[previous])
    minute = samples.instant_ns // NS_PER_MINUTE
    spans = np.maximum(minute - prev_ns // NS_PER_MINUTE, 1)

    uplink[first_at], downlink[first_at] = first.uplink, first.downlink
    spans[first_at] = first.spans_minutes
    is_reset = fell.copy()
    is_reset[first_at] = first.is_reset
    quantity = uplink + downlink
    estimate = uplink.astype(np.float64) + downlink

    elapsed_ns = samples.instant_ns - prev_ns
    absent = (
        ~is_first
        & (elapsed_ns > policy.gap_ns)
        & (quantity > 0)
        & (snapshot_prev_ns[samples.snapshot] > prev_ns)
    )
    inner = np.flatnonzero(~is_first)
    exceeded = inner[policy.exceeds_rate(quantity[inner], elapsed_ns[inner])]

    inner_quantity = np.zeros(len(samples.snapshot_ns), dtype=np.int64)
    np.add.at(inner_quantity, samples.snapshot[inner], quantity[inner])
    inner_estimate = np.zeros(len(samples.snapshot_ns))
    np.add.at(inner_estimate, samples.snapshot[inner], estimate[inner])
    snapshots = len(samples.snapshot_ns)
    inner_quantity = cut_wrapped(inner_quantity, inner_estimate)

    new_minute = is_first.copy()
    new_minute[1:] |= minute[1:] != minute[:-1]
    starts = np.flatnonzero(new_minute)
    fact_up = np.add.reduceat(uplink, starts)
    fact_down = np.add.reduceat(downlink, starts)
    fact_spans = np.maximum.reduceat(spans, starts)
    fact_reset = np.logical_or.reduceat(is_reset, starts)
    fact_estimate = np.add.reduceat(estimate, starts)
    refuse_wrapped(
        fact_up + fact_down,
        fact_estimate,
        minute[starts],
        lambda at: str(samples.series_keys[samples.series[starts[at]]]),
    )
    has_bytes = (fact_up + fact_down) > 0

    first_minute = minute[first_at]
    present = np.cumsum(is_first) - 1
    late_reset = fell & (minute == first_minute[present])
    reset_after_first = np.zeros(len(first_at), dtype=np.bool_)
    reset_after_first[present[late_reset]] = True

    return HourDeltas(
        fact_series=samples.series[starts][has_bytes],
        fact_minute=minute[starts][has_bytes],
        fact_uplink=fact_up[has_bytes],
        fact_downlink=fact_down[has_bytes],
        fact_spans_minutes=fact_spans[has_bytes],
        fact_is_reset=fact_reset[has_bytes],
        first=first_at,
        last=last_at,
        reset_after_first=reset_after_first,
        inner_reset=np.flatnonzero(fell),
        inner_absent=np.flatnonzero(absent),
        inner_exceeded=exceeded,
        compared=np.bincount(samples.snapshot[inner], minlength=snapshots).astype(np.int64),
        fell=np.bincount(samples.snapshot[fell], minlength=snapshots).astype(np.int64),
        quantity=inner_quantity,
        delta_quantity=quantity,
    )
