"""Judging later hours again when an earlier one changed, from what is stored (C14)."""

from collections.abc import Iterable, Sequence

import numpy as np

from billing_etl.counters import CounterPolicy, FirstDeltas, FirstKind, judge_first_deltas
from billing_etl.counters.history import Gap, Resets, Snapshots
from billing_etl.counters.limits import refuse_wrapped
from billing_etl.hours import NS_PER_MINUTE, Hour, format_instant_ns
from billing_etl.pipeline.first_sight import (
    hour_snapshots,
    respecting_presence,
    with_predecessors,
)
from billing_etl.pipeline.history import HourFirsts, InnerHistory, write_history
from billing_etl.records import Int64Array
from billing_etl.store import collected
from billing_etl.store.columns import Difference, Rows, replace_rows, rows_of
from billing_etl.store.database import Connection
from billing_etl.store.facts import FACT, fact_difference, facts_at
from billing_etl.store.sources import node_contexts


def judge_again(
    connection: Connection,
    source_key: int,
    changed: Iterable[Hour],
    fresh: Hour,
    node_keys: Sequence[int],
    run_id: int,
    policy: CounterPolicy,
) -> list[Difference]:
    """Judges every first delta that leaned on a changed hour again, from what is stored (C14).

    Args:
        connection, source_key, run_id, policy: as in collecting.
        changed: hours of which closings or snapshots changed, look-back's too.
        fresh: the hour being collected; it is judged by what is served.
        node_keys: the nodes that may have changed.

    Returns:
        How the facts of those hours differ, to be written by the caller.
    """
    leaning = {
        later
        for hour in changed
        for later in collected.leaning_hours(connection, source_key, hour, node_keys)
    }
    return [
        _judge_hour_again(connection, source_key, later, run_id, policy)
        for later in sorted(leaning - {fresh})
    ]


def _judge_hour_again(
    connection: Connection, source_key: int, hour: Hour, run_id: int, policy: CounterPolicy
) -> Difference:
    closings = collected.stored_closings(connection, source_key, hour)
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
        collected.predecessors(connection, series_id.tolist(), hour),
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
    facts = facts_at(connection, series, minutes)
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
    estimate = old.sum(axis=1, dtype=np.float64)
    estimate += after.uplink[at].astype(np.float64) + after.downlink[at]
    estimate -= before["uplink"][at].astype(np.float64) + before["downlink"][at]
    refuse_wrapped(
        uplink + downlink,
        estimate,
        minutes,
        lambda at: collected.series_labels(connection, [int(series[at])])[int(series[at])],
    )
    rows = rows_of(
        FACT,
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
    return fact_difference(facts, rows[(uplink + downlink) > 0])
