"""Resets with their class, gaps and findings of an hour, from what collecting stores (C5, C7, C9).

The same function serves a fresh collection and the judging again of a stored hour (C14): both
bring first deltas and what was counted between samples of the hour itself.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from billing_etl.counters.first_deltas import FirstDeltas, FirstKind, FirstSamples
from billing_etl.counters.limits import cut_wrapped
from billing_etl.records import BoolArray, Int64Array


@dataclass(frozen=True, slots=True)
class Resets:
    """Counter resets, parallel arrays: series, instant, totals before and after (C5)."""

    series_id: Int64Array
    snapshot: Int64Array
    instant_ns: Int64Array
    uplink_before: Int64Array
    downlink_before: Int64Array
    uplink_after: Int64Array
    downlink_after: Int64Array

    def and_also(self, other: "Resets") -> "Resets":
        return Resets(
            *(
                np.concatenate([getattr(self, name), getattr(other, name)])
                for name in self.__dataclass_fields__
            )
        )


@dataclass(frozen=True, slots=True)
class Snapshots:
    """The snapshots of a source-hour, sorted by node, instant; parallel arrays.

    ``prev_ns`` is the node's snapshot before (0: none); ``compared``, ``fell`` and ``quantity``
    count deltas between samples of the hour itself.
    """

    node_key: Int64Array
    instant_ns: Int64Array
    prev_ns: Int64Array
    compared: Int64Array
    fell: Int64Array
    quantity: Int64Array


class Gap(NamedTuple):
    """A stretch without snapshots (``series_id`` 0) or without the series (C9)."""

    node_key: int
    series_id: int
    from_ns: int
    until_ns: int
    quantity: int


class SeriesFinding(NamedTuple):
    """Something about one series at one instant that a person should know."""

    kind: str
    series_id: int
    instant_ns: int
    quantity: int


def reset_classes(
    resets: Resets, snapshots: Snapshots, first_snapshot: Int64Array, first: FirstDeltas
) -> BoolArray:
    """Which resets are node restarts: most comparable series fell in that snapshot (C5)."""
    compared, fell = snapshots.compared.copy(), snapshots.fell.copy()
    known = np.isin(first.kind, (FirstKind.DELTA, FirstKind.RESET))
    np.add.at(compared, first_snapshot[known], 1)
    np.add.at(fell, first_snapshot[first.is_reset], 1)
    result: BoolArray = (fell * 2 > compared)[resets.snapshot]
    return result


def first_resets(
    series_id: Int64Array, first_snapshot: Int64Array, samples: FirstSamples, first: FirstDeltas
) -> Resets:
    """The resets among first deltas."""
    at = first.is_reset
    return Resets(
        series_id=series_id[at],
        snapshot=first_snapshot[at],
        instant_ns=samples.first_ns[at],
        uplink_before=samples.prev_uplink[at],
        downlink_before=samples.prev_downlink[at],
        uplink_after=samples.first_uplink[at],
        downlink_after=samples.first_downlink[at],
    )


def node_gaps(
    snapshots: Snapshots, first_snapshot: Int64Array, first: FirstDeltas, gap_ns: int
) -> list[Gap]:
    """``exporter_down`` gaps, once per node, with the bytes that arrived after them (C9)."""
    quantity, estimate = snapshots.quantity.copy(), snapshots.quantity.astype(np.float64)
    np.add.at(quantity, first_snapshot, first.uplink + first.downlink)
    np.add.at(estimate, first_snapshot, first.uplink.astype(np.float64) + first.downlink)
    quantity = cut_wrapped(quantity, estimate)
    long = (snapshots.prev_ns > 0) & (snapshots.instant_ns - snapshots.prev_ns > gap_ns)
    return [
        Gap(
            int(snapshots.node_key[at]),
            0,
            int(snapshots.prev_ns[at]),
            int(snapshots.instant_ns[at]),
            int(quantity[at]),
        )
        for at in np.flatnonzero(long)
    ]


def first_gaps(
    series_id: Int64Array, node_key: Int64Array, samples: FirstSamples, first: FirstDeltas
) -> list[Gap]:
    """``series_absent`` gaps that end with a first sample (C9)."""
    return [
        Gap(
            int(node_key[at]),
            int(series_id[at]),
            int(samples.prev_ns[at]),
            int(samples.first_ns[at]),
            int(first.uplink[at] + first.downlink[at]),
        )
        for at in np.flatnonzero(first.absent)
    ]


def first_findings(
    series_id: Int64Array, samples: FirstSamples, first: FirstDeltas
) -> list[SeriesFinding]:
    """Implausible births and too fast first deltas (C7)."""
    total = samples.first_uplink + samples.first_downlink
    findings = [
        SeriesFinding(
            "implausible_birth", int(series_id[at]), int(samples.first_ns[at]), int(total[at])
        )
        for at in np.flatnonzero(first.kind == FirstKind.IMPLAUSIBLE)
    ]
    delta = first.uplink + first.downlink
    findings += [
        SeriesFinding(
            "rate_exceeded", int(series_id[at]), int(samples.first_ns[at]), int(delta[at])
        )
        for at in np.flatnonzero(first.rate_exceeded)
    ]
    return findings


def reset_findings(resets: Resets, is_node_restart: BoolArray) -> list[SeriesFinding]:
    """A reset of a single series is a finding (C5)."""
    return [
        SeriesFinding(
            "single_series_reset",
            int(resets.series_id[at]),
            int(resets.instant_ns[at]),
            int(resets.uplink_after[at] + resets.downlink_after[at]),
        )
        for at in np.flatnonzero(~is_node_restart)
    ]
