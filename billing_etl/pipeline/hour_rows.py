"""Rows of an hour as they are stored, built from its samples and deltas."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from billing_etl.counters import (
    FirstDeltas,
    FirstKind,
    FirstSamples,
    HourDeltas,
    HourSamples,
    MinuteFacts,
)
from billing_etl.hours import NS_PER_HOUR, Hour
from billing_etl.records import Int64Array
from billing_etl.store import collected
from billing_etl.store.columns import Difference, Rows, rows_of
from billing_etl.store.facts import FACT


def node_key_column(samples: HourSamples, node_keys: Mapping[tuple[str, str], int]) -> Int64Array:
    """The stored key of each of the samples' nodes, by its position."""
    return np.array([node_keys[key] for key in samples.nodes], dtype=np.int64)


def instant_rows(
    samples: HourSamples, node_keys: Mapping[tuple[str, str], int], *, provisional: bool
) -> Rows:
    """One row per snapshot; what is counted between samples is filled in by the caller."""
    return rows_of(
        collected.INSTANT,
        {
            "node_key": node_key_column(samples, node_keys)[samples.snapshot_node],
            "instant_ns": samples.snapshot_ns,
            "hour": samples.snapshot_ns // NS_PER_HOUR,
            "samples": samples.snapshot_samples,
            "compared": 0,
            "fell": 0,
            "quantity": 0,
            "provisional": provisional,
            "content_hash": np.array(samples.snapshot_hashes, dtype="V16"),
        },
    )


def closing_rows(
    hour: Hour,
    samples: HourSamples,
    series_ids: Int64Array,
    first_samples: FirstSamples,
    first: FirstDeltas,
    deltas: HourDeltas,
) -> Rows:
    """One row per series seen: its first and last sample, and what the first was measured from."""
    return rows_of(
        collected.CLOSING,
        {
            "series_id": series_ids[samples.first.series],
            "hour": hour.index,
            "first_ns": first_samples.first_ns,
            "first_uplink": first_samples.first_uplink,
            "first_downlink": first_samples.first_downlink,
            "last_ns": samples.last.instant_ns,
            "last_uplink": samples.last.uplink,
            "last_downlink": samples.last.downlink,
            "prev_ns": first_samples.prev_ns,
            "prev_uplink": first_samples.prev_uplink,
            "prev_downlink": first_samples.prev_downlink,
            "first_kind": first.kind,
            "reset_after_first": deltas.reset_after_first,
            "provisional": False,
        },
    )


def provisional_closing_rows(hour: Hour, lookback: HourSamples, series_ids: Int64Array) -> Rows:
    """Closings of look-back samples within an hour that was not collected itself (C4)."""
    first, last = lookback.ends_within(hour.start_ns, hour.end_ns)
    return rows_of(
        collected.CLOSING,
        {
            "series_id": series_ids[first.series],
            "hour": hour.index,
            "first_ns": first.instant_ns,
            "first_uplink": first.uplink,
            "first_downlink": first.downlink,
            "last_ns": last.instant_ns,
            "last_uplink": last.uplink,
            "last_downlink": last.downlink,
            "prev_ns": 0,
            "prev_uplink": 0,
            "prev_downlink": 0,
            "first_kind": FirstKind.PROVISIONAL,
            "reset_after_first": False,
            "provisional": True,
        },
    )


def fact_rows(series_ids: Int64Array, facts: MinuteFacts) -> Rows:
    """One row per series and minute with bytes, not rated yet (C8, C10)."""
    return rows_of(
        FACT,
        {
            "series_id": series_ids[facts.series],
            "minute": facts.minute,
            "uplink_quantity": facts.uplink,
            "downlink_quantity": facts.downlink,
            "spans_minutes": facts.spans_minutes,
            "is_reset": facts.is_reset,
            "included_quantity": 0,
            "rate_id": 0,
            "revision": 1,
            "sealing": 1,
        },
    )


def quarantine_rows(
    samples: HourSamples, node_keys: Mapping[tuple[str, str], int]
) -> list[tuple[Any, ...]]:
    """One row per bad sample, in served order (C11)."""
    return [
        (
            node_keys[samples.nodes[placed.node]],
            placed.instant_ns,
            placed.sample.account_uuid,
            placed.sample.inbound_tag,
            placed.sample.reason,
            placed.sample.raw_text,
        )
        for placed in samples.bad_samples
    ]


def forgotten_instants(stored: Rows, served: Rows) -> Rows:
    """Stored snapshots that are not served any more (C13)."""
    return Difference(stored, served, ("node_key", "instant_ns"), ()).deleted
