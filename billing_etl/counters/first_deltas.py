"""The first delta of a series in an hour: the only one that leans on what came before the hour.

Judged when the hour is collected, and again from what is stored whenever an earlier hour changes
(C14), always by the same function.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from billing_etl.counters.policy import CounterPolicy
from billing_etl.hours import NS_PER_MINUTE
from billing_etl.records import BoolArray, Int64Array


class FirstKind(IntEnum):
    """How a first delta was judged; stored in ``closings.first_kind``."""

    PROVISIONAL = 0  # a look-back sample: no delta of its own
    DELTA = 1  # total minus the predecessor's (C4)
    RESET = 2  # a counter fell: the new totals (C5)
    BORN = 3  # appeared on a known node: its whole total (C7)
    BASELINE = 4  # first sight of the node, or by policy: nothing (C7)
    IMPLAUSIBLE = 5  # born with more than could have flowed: nothing, and a finding (C7)
    CHARGED = 6  # first sight charged by policy: its whole total (C7)


@dataclass(frozen=True, slots=True)
class FirstSamples:
    """First samples of series in an hour with what stands before them; parallel arrays.

    Attributes:
        first_ns, first_uplink, first_downlink: the sample.
        prev_ns, prev_uplink, prev_downlink: its predecessor in time; ``prev_ns`` 0: none (C4).
        node_prev_ns: the node's previous snapshot of any kind; 0: none.
        appeared: the node had an earlier, non-empty snapshot without the series (C7).
    """

    first_ns: Int64Array
    first_uplink: Int64Array
    first_downlink: Int64Array
    prev_ns: Int64Array
    prev_uplink: Int64Array
    prev_downlink: Int64Array
    node_prev_ns: Int64Array
    appeared: BoolArray


@dataclass(frozen=True, slots=True)
class FirstDeltas:
    """What ``judge_first_deltas`` decides per first sample; parallel arrays.

    Attributes:
        kind: a ``FirstKind`` each.
        uplink, downlink: bytes charged to the first sample's minute.
        spans_minutes: minutes the delta covers; 0 where there is no delta (baselines).
        absent: the series was absent from earlier snapshots of its node for a gap's length (C9).
        rate_exceeded: billed, but above the source's maximum rate (C7).
    """

    kind: Int64Array
    uplink: Int64Array
    downlink: Int64Array
    spans_minutes: Int64Array
    absent: BoolArray
    rate_exceeded: BoolArray

    @property
    def is_reset(self) -> BoolArray:
        result: BoolArray = self.kind == FirstKind.RESET
        return result

    @property
    def is_baseline(self) -> BoolArray:
        result: BoolArray = np.isin(self.kind, (FirstKind.BASELINE, FirstKind.IMPLAUSIBLE))
        return result


def judge_first_deltas(first: FirstSamples, policy: CounterPolicy) -> FirstDeltas:
    """Judges first deltas by C4 (predecessor), C5 (reset), C7 (first sight) and C9 (span, gap)."""
    known = first.prev_ns > 0
    fell = known & (
        (first.first_uplink < first.prev_uplink) | (first.first_downlink < first.prev_downlink)
    )
    kind = np.where(fell, FirstKind.RESET, FirstKind.DELTA).astype(np.int64)
    kind[~known] = _first_sights(first, policy)[~known]

    counts_totals = np.isin(kind, (FirstKind.RESET, FirstKind.BORN, FirstKind.CHARGED))
    is_delta = kind == FirstKind.DELTA
    uplink = np.where(
        is_delta, first.first_uplink - first.prev_uplink, first.first_uplink * counts_totals
    )
    downlink = np.where(
        is_delta, first.first_downlink - first.prev_downlink, first.first_downlink * counts_totals
    )
    minutes = first.first_ns // NS_PER_MINUTE - first.prev_ns // NS_PER_MINUTE
    spans = np.where(known, np.maximum(minutes, 1), counts_totals.astype(np.int64))
    elapsed_ns = first.first_ns - first.prev_ns
    quantity = uplink + downlink
    return FirstDeltas(
        kind=kind,
        uplink=uplink,
        downlink=downlink,
        spans_minutes=spans,
        absent=known
        & (elapsed_ns > policy.gap_ns)
        & (quantity > 0)
        & (first.node_prev_ns > first.prev_ns),
        rate_exceeded=known & policy.exceeds_rate(quantity, elapsed_ns),
    )


def _first_sights(first: FirstSamples, policy: CounterPolicy) -> Int64Array:
    if policy.first_sight == "charge":
        return np.full(len(first.first_ns), FirstKind.CHARGED, dtype=np.int64)
    if policy.first_sight == "baseline":
        return np.full(len(first.first_ns), FirstKind.BASELINE, dtype=np.int64)
    total = first.first_uplink + first.first_downlink
    implausible = policy.exceeds_rate(total, first.first_ns - first.node_prev_ns)
    born = np.where(implausible, FirstKind.IMPLAUSIBLE, FirstKind.BORN)
    return np.where(first.appeared, born, FirstKind.BASELINE).astype(np.int64)
