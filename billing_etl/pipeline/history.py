"""Resets, gaps and findings of an hour, written from its deltas (C5, C7, C9)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from billing_etl.counters import (
    CounterPolicy,
    FirstDeltas,
    FirstSamples,
    HourDeltas,
    HourSamples,
)
from billing_etl.counters.history import (
    Gap,
    Resets,
    SeriesFinding,
    Snapshots,
    first_findings,
    first_gaps,
    first_resets,
    node_gaps,
    reset_classes,
    reset_findings,
)
from billing_etl.hours import Hour, format_instant_ns
from billing_etl.records import Int64Array
from billing_etl.store import collected
from billing_etl.store.columns import replace_rows, rows_of
from billing_etl.store.database import Connection

# Findings about first deltas, judged again with them, and those of the samples alone.
_JUDGED_KINDS: Final = ("implausible_birth", "rate_exceeded", "single_series_reset")
_SAMPLE_KINDS: Final = ("conflicting_samples", "clock_ahead", "history_shrunk")


@dataclass(frozen=True, slots=True)
class HourFirsts:
    """The first samples of an hour and their judgement; ``snapshot`` indexes its snapshots."""

    series_id: Int64Array
    node_key: Int64Array
    snapshot: Int64Array
    samples: FirstSamples
    judged: FirstDeltas


@dataclass(frozen=True, slots=True)
class InnerHistory:
    """What happened between samples of the hour itself; it does not lean on other hours.

    Attributes:
        kept_subjects: subjects of stored ``rate_exceeded`` findings between samples of the hour.
        clock_ahead: per node, a snapshot's instant ahead of the exporter's clock, and that clock.
        kinds: the kinds of findings that this history knows about.
    """

    snapshots: Snapshots
    resets: Resets
    gaps: list[Gap]
    findings: list[SeriesFinding] = field(default_factory=list)
    kept_subjects: list[str] = field(default_factory=list)
    clock_ahead: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    kinds: tuple[str, ...] = _JUDGED_KINDS

    @classmethod
    def of_samples(
        cls,
        samples: HourSamples,
        series_ids: Int64Array,
        node_keys: Int64Array,
        deltas: HourDeltas,
        snapshot_prev_ns: Int64Array,
        clock_ahead: Mapping[tuple[str, str], tuple[int, int]],
    ) -> "InnerHistory":
        """The inner history of freshly served samples, once all their deltas are summed."""
        resets, absences = deltas.resets, deltas.absences
        findings = [
            SeriesFinding(kind, int(series_ids[series]), instant_ns, quantity)
            for kind, events in (
                ("rate_exceeded", deltas.exceeded),
                ("conflicting_samples", samples.conflicts),
            )
            for series, instant_ns, quantity in zip(
                events.series.tolist(),
                events.until_ns.tolist(),
                events.quantity.tolist(),
                strict=True,
            )
        ]
        return cls(
            snapshots=Snapshots(
                node_key=node_keys[samples.snapshot_node],
                instant_ns=samples.snapshot_ns,
                prev_ns=snapshot_prev_ns,
                compared=deltas.compared,
                fell=deltas.fell,
                quantity=deltas.quantity,
            ),
            resets=Resets(
                series_id=series_ids[resets.series],
                snapshot=resets.snapshot,
                instant_ns=resets.instant_ns,
                uplink_before=resets.uplink_before,
                downlink_before=resets.downlink_before,
                uplink_after=resets.uplink_after,
                downlink_after=resets.downlink_after,
            ),
            gaps=[
                Gap(
                    int(node_keys[samples.series_node[series]]),
                    int(series_ids[series]),
                    from_ns,
                    until_ns,
                    quantity,
                )
                for series, from_ns, until_ns, quantity in zip(
                    absences.series.tolist(),
                    absences.from_ns.tolist(),
                    absences.until_ns.tolist(),
                    absences.quantity.tolist(),
                    strict=True,
                )
            ],
            findings=findings,
            clock_ahead=clock_ahead,
            kinds=_JUDGED_KINDS + _SAMPLE_KINDS,
        )


def write_history(
    connection: Connection,
    source_key: int,
    hour: Hour,
    run_id: int,
    policy: CounterPolicy,
    firsts: HourFirsts,
    inner: InnerHistory,
) -> None:
    """Makes the stored resets, gaps and findings of a source-hour what its deltas say."""
    own_resets = first_resets(firsts.series_id, firsts.snapshot, firsts.samples, firsts.judged)
    resets = inner.resets.and_also(own_resets)
    is_restart = reset_classes(resets, inner.snapshots, firsts.snapshot, firsts.judged)
    replace_rows(
        connection,
        "billing_core.counter_resets",
        collected.stored(connection, "resets", source_key, hour, collected.RESET),
        rows_of(
            collected.RESET,
            {
                "series_id": resets.series_id,
                "instant_ns": resets.instant_ns,
                "hour": hour.index,
                "is_node_restart": is_restart,
                "uplink_before": resets.uplink_before,
                "downlink_before": resets.downlink_before,
                "uplink_after": resets.uplink_after,
                "downlink_after": resets.downlink_after,
            },
        ),
        ("series_id", "instant_ns"),
    )
    gaps = [
        *node_gaps(inner.snapshots, firsts.snapshot, firsts.judged, policy.gap_ns),
        *first_gaps(firsts.series_id, firsts.node_key, firsts.samples, firsts.judged),
        *inner.gaps,
    ]
    replace_rows(
        connection,
        "billing_core.usage_gaps",
        collected.stored(connection, "gaps", source_key, hour, collected.GAP),
        rows_of(
            collected.GAP,
            {
                "node_key": np.array([gap.node_key for gap in gaps], dtype=np.int64),
                "series_id": np.array([gap.series_id for gap in gaps], dtype=np.int64),
                "until_ns": np.array([gap.until_ns for gap in gaps], dtype=np.int64),
                "from_ns": np.array([gap.from_ns for gap in gaps], dtype=np.int64),
                "hour": hour.index,
                "quantity": np.array([gap.quantity for gap in gaps], dtype=np.int64),
            },
        ),
        ("node_key", "series_id", "until_ns"),
    )
    findings = [
        *inner.findings,
        *first_findings(firsts.series_id, firsts.samples, firsts.judged),
        *reset_findings(resets, is_restart),
    ]
    described = _describe(connection, hour, policy, findings)
    for subject in inner.kept_subjects:
        described[("rate_exceeded", subject)] = {}
    for (env, node_id), (instant_ns, clock_ns) in inner.clock_ahead.items():
        described[("clock_ahead", f"{env}/{node_id}")] = {
            "message": f"{env}/{node_id}, hour {hour}: expected snapshots no later than the "
            f"exporter's clock {format_instant_ns(clock_ns)}, got one of "
            f"{format_instant_ns(instant_ns)}; set the clocks right",
            "expected": clock_ns,
            "actual": instant_ns,
        }
    collected.replace_findings(connection, source_key, hour, run_id, described, inner.kinds)


_SAYS: Final = {
    "implausible_birth": "appeared with {quantity} bytes, more than could have flowed since the "
    "node's previous snapshot; counted as a baseline, nothing was charged",
    "rate_exceeded": "moved {quantity} bytes, faster than {limit} bit/s since its previous sample; "
    "billed, check the counter or raise max_bits_per_second",
    "single_series_reset": "fell to {quantity} bytes while its node did not restart; counted from "
    "zero, check the exporter",
    "conflicting_samples": "was served twice for one instant with other totals; the larger ones, "
    "{quantity} bytes, were used",
}


def _subject(finding: SeriesFinding) -> str:
    return f"{format_instant_ns(finding.instant_ns)} series {finding.series_id}"


def _describe(
    connection: Connection, hour: Hour, policy: CounterPolicy, findings: Sequence[SeriesFinding]
) -> dict[tuple[str, str], dict[str, Any]]:
    if not findings:
        return {}
    labels = collected.series_labels(connection, [finding.series_id for finding in findings])
    return {
        (finding.kind, _subject(finding)): {
            "message": f"{labels[finding.series_id]}, hour {hour}, "
            f"{format_instant_ns(finding.instant_ns)}: "
            + _SAYS[finding.kind].format(
                quantity=finding.quantity, limit=policy.max_bits_per_second
            ),
            "expected": None,
            "actual": finding.quantity,
        }
        for finding in findings
    }
