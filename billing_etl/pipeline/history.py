"""Resets, gaps and findings of an hour, and judging later hours again (C14)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from billing_etl.counters import (
    CounterPolicy,
    FirstDeltas,
    FirstKind,
    FirstSamples,
    HourDeltas,
    HourSamples,
    judge_first_deltas,
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
from billing_etl.hours import NS_PER_MINUTE, Hour, format_instant_ns
from billing_etl.pipeline.first_sight import (
    hour_snapshots,
    respecting_presence,
    with_predecessors,
)
from billing_etl.records import Int64Array
from billing_etl.store import collected
from billing_etl.store.columns import Difference, Rows, replace_rows, rows_of
from billing_etl.store.database import Connection
from billing_etl.store.sources import node_contexts

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
        """The inner history of freshly served samples."""
        reset, absent = deltas.inner_reset, deltas.inner_absent
        findings = [
            _series_finding(
                "rate_exceeded", samples, series_ids, int(at), int(deltas.delta_quantity[at])
            )
            for at in deltas.inner_exceeded
        ]
        findings += [
            _series_finding(
                "conflicting_samples",
                samples,
                series_ids,
                int(at),
                int(samples.uplink[at] + samples.downlink[at]),
            )
            for at in samples.conflicts
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
                series_id=series_ids[samples.series[reset]],
                snapshot=samples.snapshot[reset],
                instant_ns=samples.instant_ns[reset],
                uplink_before=samples.uplink[reset - 1],
                downlink_before=samples.downlink[reset - 1],
                uplink_after=samples.uplink[reset],
                downlink_after=samples.downlink[reset],
            ),
            gaps=[
                Gap(
                    int(node_keys[samples.series_node[samples.series[at]]]),
                    int(series_ids[samples.series[at]]),
                    int(samples.instant_ns[at - 1]),
                    int(samples.instant_ns[at]),
                    int(deltas.delta_quantity[at]),
                )
                for at in absent
            ],
            findings=findings,
            clock_ahead=clock_ahead,
            kinds=_JUDGED_KINDS + _SAMPLE_KINDS,
        )


def _series_finding(
    kind: str, samples: HourSamples, series_ids: Int64Array, at: int, quantity: int
) -> SeriesFinding:
    return SeriesFinding(
        kind, int(series_ids[samples.series[at]]), int(samples.instant_ns[at]), quantity
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


# --- C14: judging later hours again ----------------------------------------------------------


def judge_again(
    connection: Connection,
    source_key: int,
    hour: Hour,
    node_keys: Sequence[int],
    run_id: int,
    policy: CounterPolicy,
) -> list[Difference]:
    """Judges every first delta after the hour that leaned on it again, from what is stored (C14).

    Returns:
        How the facts of those hours differ, to be written by the caller.
    """
    return [
        _judge_hour_again(connection, source_key, later, run_id, policy)
        for later in collected.leaning_hours(connection, source_key, hour, node_keys)
    ]


def _judge_hour_again(
    connection: Connection, source_key: int, hour: Hour, run_id: int, policy: CounterPolicy
) -> Difference:
    closings = collected.stored(connection, "closings", source_key, hour, collected.CLOSING)
    closings = closings[~closings["provisional"]]
    instants = collected.stored(
        connection, "instants_with_previous", source_key, hour, collected.INSTANT_WITH_PREVIOUS
    )
    before = _stored_firsts(closings)
    firsts = _firsts_of_closings(connection, source_key, hour, closings, instants, policy)
    after = closings.copy()
    after["prev_ns"], after["first_kind"] = firsts.samples.prev_ns, firsts.judged.kind
    after["prev_uplink"] = firsts.samples.prev_uplink
    after["prev_downlink"] = firsts.samples.prev_downlink
    replace_rows(connection, "billing_core.closings", closings, after, ("series_id", "hour"))
    write_history(
        connection,
        source_key,
        hour,
        run_id,
        policy,
        firsts,
        _stored_inner_history(connection, source_key, hour, closings, instants),
    )
    collected.recount_baselines(
        connection, source_key, hour, int(firsts.judged.is_baseline.sum()), run_id
    )
    return _first_minute_facts(connection, closings, before, firsts.judged)


def _stored_firsts(closings: Rows) -> dict[str, Int64Array]:
    """What the stored judgement of each first delta contributed: bytes, span, reset."""
    kind = closings["first_kind"]
    is_delta = np.isin(kind, (FirstKind.DELTA,))
    counts = is_delta | np.isin(kind, (FirstKind.RESET, FirstKind.BORN, FirstKind.CHARGED))
    return {
        "uplink": (closings["first_uplink"] - closings["prev_uplink"] * is_delta) * counts,
        "downlink": (closings["first_downlink"] - closings["prev_downlink"] * is_delta) * counts,
        "spans_minutes": np.where(
            closings["prev_ns"] > 0,
            np.maximum(
                closings["first_ns"] // NS_PER_MINUTE - closings["prev_ns"] // NS_PER_MINUTE, 1
            ),
            counts,
        ).astype(np.int64),
        "is_reset": kind == FirstKind.RESET,
    }


def _firsts_of_closings(
    connection: Connection,
    source_key: int,
    hour: Hour,
    closings: Rows,
    instants: Rows,
    policy: CounterPolicy,
) -> HourFirsts:
    node_of = collected.series_nodes(connection, closings["series_id"].tolist())
    series_id = closings["series_id"].astype(np.int64)
    node_key = np.array([node_of[series] for series in series_id.tolist()], dtype=np.int64)
    instant_node = instants["node_key"].astype(np.int64)
    places = {
        key: at
        for at, key in enumerate(
            zip(instant_node.tolist(), instants["instant_ns"].tolist(), strict=True)
        )
    }
    snapshot = np.array(
        [places[key] for key in zip(node_key.tolist(), closings["first_ns"].tolist(), strict=True)],
        dtype=np.int64,
    )
    snapshots = hour_snapshots(
        node_contexts(connection, source_key, hour),
        instant_node,
        instants["instant_ns"],
        instants["samples"].astype(np.int64),
    )
    samples = with_predecessors(
        connection,
        hour,
        series_id,
        snapshot,
        snapshots,
        (closings["first_uplink"], closings["first_downlink"]),
    )
    presence = collected.presence(connection, source_key, hour)
    nonempty = instants["samples"] > 0
    samples = respecting_presence(
        connection,
        samples,
        series_id,
        node_key,
        presence,
        hour,
        {
            key: instants["instant_ns"][nonempty & (instant_node == key)]
            for key in (set(node_key.tolist()) if presence else ())
        },
    )
    return HourFirsts(series_id, node_key, snapshot, samples, judge_first_deltas(samples, policy))


def _stored_inner_history(
    connection: Connection, source_key: int, hour: Hour, closings: Rows, instants: Rows
) -> InnerHistory:
    """What was stored between samples of the hour: all that does not end at a first sample."""
    first_ns = dict(zip(closings["series_id"].tolist(), closings["first_ns"].tolist(), strict=True))
    places = {
        key: at
        for at, key in enumerate(
            zip(instants["node_key"].tolist(), instants["instant_ns"].tolist(), strict=True)
        )
    }
    resets = collected.stored(connection, "resets", source_key, hour, collected.RESET)
    inner = [
        first_ns[series] != ns
        for series, ns in zip(
            resets["series_id"].tolist(), resets["instant_ns"].tolist(), strict=True
        )
    ]
    resets = resets[np.array(inner, dtype=np.bool_)]
    node_of = collected.series_nodes(connection, resets["series_id"].tolist())
    gaps = collected.stored(connection, "gaps", source_key, hour, collected.GAP)
    subjects = (
        {f"{format_instant_ns(int(ns))} series {series}" for series, ns in first_ns.items()}
        if (rate_findings := collected.open_rate_findings(connection, source_key, hour))
        else set()
    )
    return InnerHistory(
        snapshots=Snapshots(
            **{
                name: instants[name].astype(np.int64)
                for name in ("node_key", "instant_ns", "prev_ns", "compared", "fell", "quantity")
            }
        ),
        resets=Resets(
            snapshot=np.array(
                [
                    places[(node_of[series], ns)]
                    for series, ns in zip(
                        resets["series_id"].tolist(), resets["instant_ns"].tolist(), strict=True
                    )
                ],
                dtype=np.int64,
            ),
            **{
                name: resets[name].astype(np.int64)
                for name in (
                    "series_id",
                    "instant_ns",
                    "uplink_before",
                    "downlink_before",
                    "uplink_after",
                    "downlink_after",
                )
            },
        ),
        gaps=[
            Gap(
                int(gap["node_key"]),
                int(gap["series_id"]),
                int(gap["from_ns"]),
                int(gap["until_ns"]),
                int(gap["quantity"]),
            )
            for gap in gaps
            if gap["series_id"] and first_ns[int(gap["series_id"])] != gap["until_ns"]
        ],
        kept_subjects=[subject for subject in rate_findings if subject not in subjects],
    )


def _first_minute_facts(
    connection: Connection, closings: Rows, before: dict[str, Int64Array], after: FirstDeltas
) -> Difference:
    """How the facts in the minutes of first samples change with their judgement."""
    differs = (
        (before["uplink"] != after.uplink)
        | (before["downlink"] != after.downlink)
        | (before["spans_minutes"] != after.spans_minutes)
        | (before["is_reset"] != after.is_reset)
    )
    at = np.flatnonzero(differs)
    series, minutes = closings["series_id"][at], closings["first_ns"][at] // NS_PER_MINUTE
    facts = collected.facts_at(connection, series.tolist(), minutes.tolist())
    known = {
        (int(fact["series_id"]), int(fact["minute"])): (
            int(fact["uplink_quantity"]),
            int(fact["downlink_quantity"]),
        )
        for fact in facts
    }
    old = np.array(
        [known.get(key, (0, 0)) for key in zip(series.tolist(), minutes.tolist(), strict=True)],
        dtype=np.int64,
    ).reshape(-1, 2)
    uplink = old[:, 0] - before["uplink"][at] + after.uplink[at]
    downlink = old[:, 1] - before["downlink"][at] + after.downlink[at]
    rows = rows_of(
        collected.FACT,
        {
            "series_id": series,
            "minute": minutes,
            "uplink_quantity": uplink,
            "downlink_quantity": downlink,
            # Deltas between samples of that same minute span one minute each (C9).
            "spans_minutes": np.maximum(after.spans_minutes[at], 1),
            "is_reset": after.is_reset[at] | closings["reset_after_first"][at],
            "included_quantity": 0,
            "rate_id": 0,
            "revision": 1,
            "sealing": 1,
        },
    )
    return collected.fact_difference(facts, rows[(uplink + downlink) > 0])
