"""Collecting: from what an exporter serves to the stored state of an hour, in one transaction."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from billing_etl.counters import (
    CounterPolicy,
    Coverage,
    FirstDeltas,
    FirstKind,
    FirstSamples,
    HourDeltas,
    HourSamples,
    NodeCoverage,
    cover_hour,
    hour_deltas,
    judge_first_deltas,
)
from billing_etl.errors import BillingError
from billing_etl.hours import NS_PER_MINUTE, Hour, HourRange, format_instant_ns
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.fetch import ServedHour, fetch_hour
from billing_etl.pipeline.first_sight import FirstContext, first_context
from billing_etl.pipeline.history import HourFirsts, InnerHistory, judge_again, write_history
from billing_etl.settings import Source
from billing_etl.store import collected
from billing_etl.store.columns import Difference, Rows, replace_rows, rows_of
from billing_etl.store.database import Connection
from billing_etl.store.sources import (
    NodeContext,
    lock_source,
    node_contexts,
    note_failure,
    prepare_hour,
    register_nodes,
    register_series,
    register_source,
)

_log = logging.getLogger(__name__)
_CLOCK_AHEAD_NS: Final = 5 * NS_PER_MINUTE


@dataclass(frozen=True, slots=True)
class CollectResult:
    """What one collection of a source-hour did. Counts are samples unless named otherwise."""

    source_id: str
    hour: Hour
    outcome: Literal["collected", "unchanged", "history_shrunk"]
    state: str
    snapshots: int
    samples: int
    used: int
    duplicates: int
    baselines: int
    quarantined: int
    facts_written: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"hour": str(self.hour)}


@dataclass(frozen=True, slots=True)
class CollectSummary:
    """Results of many source-hours, and the failures that did not stop the others."""

    results: list[CollectResult]
    failures: list[tuple[str, Hour, str]]

    def as_dict(self) -> dict[str, Any]:
        return {
            "results": [result.as_dict() for result in self.results],
            "failures": [
                {"source_id": source_id, "hour": str(hour), "error": error}
                for source_id, hour, error in self.failures
            ],
        }


def collect_hours(
    engine: Engine, sources: Iterable[Source], hours: HourRange | Sequence[Hour]
) -> CollectSummary:
    """Collects source-hours, oldest first; a failed one stops no other."""
    results: list[CollectResult] = []
    failures: list[tuple[str, Hour, str]] = []
    wanted = list(hours)
    with engine.run("collect", _label(wanted)) as run:
        for source in sources:
            for hour in wanted:
                try:
                    results.append(collect_hour(engine, source, hour, run.run_id))
                except BillingError as error:
                    _log.error("%s", error)
                    failures.append((source.source_id, hour, str(error)))
        run.counts.update(CollectSummary(results, failures).as_dict())
    return CollectSummary(results, failures)


def _label(hours: Sequence[Hour]) -> str:
    return ", ".join(map(str, hours)) if len(hours) < 4 else f"{hours[0]} to {hours[-1]}"


def open_hours(engine: Engine, source: Source, before: Hour) -> list[Hour]:
    """Earlier hours of a source that are partial or were never collected since its first (C12)."""
    with engine.connect() as connection:
        return collected.open_hours(connection, source.source_id, before)


def collect_hour(
    engine: Engine, source: Source, hour: Hour, run_id: int | None = None
) -> CollectResult:
    """Collects one source-hour: everything is written in one transaction, or nothing is.

    Args:
        engine: settings and database.
        source: the source.
        hour: the hour; the running one may be collected too, it stays partial.
        run_id: the run this belongs to; a new one is recorded when it is None.

    Raises:
        BillingError: the exporter could not be read, served another node, or the database
            refused; the stored hour is as it was and the source keeps the error.
    """
    if run_id is None:
        with engine.run("collect", hour) as run:
            return collect_hour(engine, source, hour, run.run_id)
    try:
        with engine.connect() as connection:
            lock_source(connection, source.source_id)
            source_key = register_source(connection, source)
            prepare_hour(connection, hour, source.lookback_minutes)
            contexts = node_contexts(connection, source_key, hour)
            connection.commit()
            served = fetch_hour(source, hour, contexts)
            writer = _HourWriter(connection, engine, source, source_key, hour, run_id)
            return writer.write(served, contexts)
    except BillingError as error:
        with engine.connect() as connection:
            note_failure(connection, source.source_id, str(error))
        raise


class _HourWriter:
    """One transaction that makes the stored state of a source-hour what is served."""

    def __init__(
        self,
        connection: Connection,
        engine: Engine,
        source: Source,
        source_key: int,
        hour: Hour,
        run_id: int,
    ) -> None:
        self.connection = connection
        self.engine = engine
        self.source = source
        self.source_key = source_key
        self.hour = hour
        self.run_id = run_id
        self.policy = CounterPolicy(
            source.interval_seconds, source.first_sight, source.max_bits_per_second
        )

    def write(self, served: ServedHour, contexts: list[NodeContext]) -> CollectResult:
        samples = served.samples
        node_keys = self._register_nodes(served)
        instants = self._instant_rows(samples, node_keys, self.hour, provisional=False)
        stored_instants = self._stored("instants", collected.INSTANT)
        if _shrunk(stored_instants, instants):
            return self._refuse_shrunk(served, stored_instants, instants)

        series_ids = self._register_series(samples, node_keys)
        self._write_lookback(served.lookback, node_keys)
        context = first_context(
            self.connection, self.source_key, self.hour, samples, served.lookback, node_keys, series_ids
        )
        first = judge_first_deltas(context.samples, self.policy)
        deltas = hour_deltas(samples, first, context.snapshot_prev_ns, self.policy)
        instants["compared"], instants["fell"] = deltas.compared, deltas.fell
        instants["quantity"] = deltas.quantity

        sealings = collected.lock_sealings(self.connection, self.hour)
        changed = replace_rows(
            self.connection,
            "billing_core.node_instants",
            stored_instants,
            instants,
            ("node_key", "instant_ns"),
        )
        changed |= replace_rows(
            self.connection,
            "billing_core.closings",
            self._stored("closings", collected.CLOSING),
            self._closing_rows(samples, series_ids, context.samples, first, deltas),
            ("series_id", "hour"),
        )
        present = {node_keys[key] for key in samples.nodes}
        closed = {
            node_keys[samples.nodes[node]]
            for node in np.unique(samples.series_node[samples.series]).tolist()
        }
        changed |= collected.drop_provisional(self.connection, sorted(closed), self.hour)
        differences = [
            collected.fact_difference(
                self._stored("facts", collected.FACT), self._fact_rows(series_ids, deltas)
            )
        ]
        collected.replace_quarantine(
            self.connection, self.source_key, self.hour, _quarantine_rows(samples, node_keys)
        )
        firsts = HourFirsts(
            series_id=series_ids[samples.series[deltas.first]],
            node_key=_node_keys(samples, node_keys)[samples.series_node[samples.series[deltas.first]]],
            snapshot=samples.snapshot[deltas.first],
            samples=context.samples,
            judged=first,
        )
        inner = self._inner_history(served, series_ids, node_keys, deltas, context)
        write_history(
            self.connection, self.source_key, self.hour, self.run_id, self.policy, firsts, inner
        )
        if changed:
            touched = sorted(present | set(stored_instants["node_key"].tolist()))
            differences += judge_again(
                self.connection, self.source_key, self.hour, touched, self.run_id, self.policy
            )
        collected.add_account_hours(self.connection, differences)
        written = sum(
            collected.write_facts(self.connection, difference, sealings)
            for difference in differences
        )
        coverage = self._coverage(served)
        counts = self._counts(served, first, coverage)
        changed |= collected.upsert_source_hour(self.connection, counts)
        if changed:
            collected.expect_nodes_later(self.connection, self.source_key, self.hour, self.run_id)
        collected.advance_checkpoint(self.connection, self.source_key)
        return self._result("collected" if changed or written else "unchanged", counts, written)

    # --- rows -------------------------------------------------------------------------------

    def _stored(self, name: str, dtype: np.dtype[np.void]) -> Rows:
        return collected.stored(self.connection, name, self.source_key, self.hour, dtype)

    def _register_nodes(self, served: ServedHour) -> dict[tuple[str, str], int]:
        return register_nodes(
            self.connection,
            self.source,
            self.source_key,
            [*map(tuple, served.samples.nodes), *map(tuple, served.lookback.nodes)],
        )

    def _register_series(
        self, samples: HourSamples, node_keys: dict[tuple[str, str], int]
    ) -> np.ndarray[Any, np.dtype[np.int64]]:
        ids = register_series(
            self.connection, node_keys, samples.series_keys, self.engine.settings.initial_balance
        )
        return np.array(ids, dtype=np.int64)

    def _instant_rows(
        self,
        samples: HourSamples,
        node_keys: dict[tuple[str, str], int],
        hour: Hour | None,
        *,
        provisional: bool,
    ) -> Rows:
        hours = samples.snapshot_ns // (60 * NS_PER_MINUTE) if hour is None else hour.index
        return rows_of(
            collected.INSTANT,
            {
                "node_key": _node_keys(samples, node_keys)[samples.snapshot_node],
                "instant_ns": samples.snapshot_ns,
                "hour": hours,
                "samples": samples.snapshot_samples,
                "compared": 0,
                "fell": 0,
                "quantity": 0,
                "provisional": provisional,
                "content_hash": np.array(samples.snapshot_hashes, dtype="V16"),
            },
        )

    def _closing_rows(
        self,
        samples: HourSamples,
        series_ids: np.ndarray[Any, np.dtype[np.int64]],
        first_samples: FirstSamples,
        first: FirstDeltas,
        deltas: HourDeltas,
    ) -> Rows:
        return rows_of(
            collected.CLOSING,
            {
                "series_id": series_ids[samples.series[deltas.first]],
                "hour": self.hour.index,
                "first_ns": first_samples.first_ns,
                "first_uplink": first_samples.first_uplink,
                "first_downlink": first_samples.first_downlink,
                "last_ns": samples.instant_ns[deltas.last],
                "last_uplink": samples.uplink[deltas.last],
                "last_downlink": samples.downlink[deltas.last],
                "prev_ns": first_samples.prev_ns,
                "prev_uplink": first_samples.prev_uplink,
                "prev_downlink": first_samples.prev_downlink,
                "first_kind": first.kind,
                "reset_after_first": deltas.reset_after_first,
                "provisional": False,
            },
        )

    def _fact_rows(
        self, series_ids: np.ndarray[Any, np.dtype[np.int64]], deltas: HourDeltas
    ) -> Rows:
        return rows_of(
            collected.FACT,
            {
                "series_id": series_ids[deltas.fact_series],
                "minute": deltas.fact_minute,
                "uplink_quantity": deltas.fact_uplink,
                "downlink_quantity": deltas.fact_downlink,
                "spans_minutes": deltas.fact_spans_minutes,
                "is_reset": deltas.fact_is_reset,
                "included_quantity": 0,
                "rate_id": 0,
                "revision": 1,
                "sealing": 1,
            },
        )

    def _write_lookback(
        self, lookback: HourSamples, node_keys: dict[tuple[str, str], int]
    ) -> None:
        """Keeps look-back samples as provisional closings of their own hours (C4).

        What was kept before stays when the exporter has forgotten part of it since, as C13 says
        of collected hours.
        """
        if not len(lookback.snapshot_ns):
            return
        series_ids = self._register_series(lookback, node_keys)
        for index in np.unique(lookback.snapshot_ns // (60 * NS_PER_MINUTE)):
            hour = Hour(int(index))
            rows = self._instant_rows(lookback, node_keys, None, provisional=True)
            rows = rows[rows["hour"] == hour.index]
            stored_instants = collected.stored(
                self.connection, "instants", self.source_key, hour, collected.INSTANT
            )
            nodes = set(rows["node_key"].tolist())
            mine = np.isin(stored_instants["node_key"], list(nodes))
            if _shrunk(stored_instants[mine], rows) or not stored_instants["provisional"][mine].all():
                continue
            replace_rows(
                self.connection,
                "billing_core.node_instants",
                stored_instants[mine],
                rows,
                ("node_key", "instant_ns"),
            )
            self._write_provisional_closings(lookback, series_ids, hour)

    def _write_provisional_closings(
        self, lookback: HourSamples, series_ids: np.ndarray[Any, np.dtype[np.int64]], hour: Hour
    ) -> None:
        within = np.flatnonzero(
            (lookback.instant_ns >= hour.start_ns) & (lookback.instant_ns < hour.end_ns)
        )
        series = lookback.series[within]
        firsts = within[np.flatnonzero(np.diff(series, prepend=-1))]
        lasts = within[np.flatnonzero(np.diff(series, append=-1))]
        rows = rows_of(
            collected.CLOSING,
            {
                "series_id": series_ids[lookback.series[firsts]],
                "hour": hour.index,
                "first_ns": lookback.instant_ns[firsts],
                "first_uplink": lookback.uplink[firsts],
                "first_downlink": lookback.downlink[firsts],
                "last_ns": lookback.instant_ns[lasts],
                "last_uplink": lookback.uplink[lasts],
                "last_downlink": lookback.downlink[lasts],
                "prev_ns": 0,
                "prev_uplink": 0,
                "prev_downlink": 0,
                "first_kind": FirstKind.PROVISIONAL,
                "reset_after_first": False,
                "provisional": True,
            },
        )
        stored_rows = collected.stored(
            self.connection, "closings", self.source_key, hour, collected.CLOSING
        )
        mine = np.isin(stored_rows["series_id"], series_ids)
        replace_rows(
            self.connection,
            "billing_core.closings",
            stored_rows[mine],
            rows,
            ("series_id", "hour"),
        )

    # --- history, coverage, result ----------------------------------------------------------

    def _inner_history(
        self,
        served: ServedHour,
        series_ids: np.ndarray[Any, np.dtype[np.int64]],
        node_keys: dict[tuple[str, str], int],
        deltas: HourDeltas,
        context: FirstContext,
    ) -> InnerHistory:
        samples = served.samples
        ahead = [
            (samples.nodes[int(samples.snapshot_node[at])], int(samples.snapshot_ns[at]))
            for at in np.flatnonzero(samples.snapshot_ns > served.clock_ns + _CLOCK_AHEAD_NS)
        ]
        return InnerHistory.of_samples(
            samples,
            series_ids,
            _node_keys(samples, node_keys),
            deltas,
            context.snapshot_prev_ns,
            clock_ahead={
                node: (instant_ns, served.clock_ns) for node, instant_ns in reversed(ahead)
            },
        )

    def _coverage(self, served: ServedHour) -> Coverage:
        samples = served.samples
        positions = {tuple(key): at for at, key in enumerate(samples.nodes)}
        nodes = []
        for node in served.expected_nodes:
            at = positions.get(node, -1)
            nodes.append(
                NodeCoverage(
                    instants_ns=samples.snapshot_ns[samples.snapshot_node == at],
                    seen_later=node in served.seen_later,
                )
            )
        return cover_hour(
            nodes,
            self.hour,
            self.source.interval_seconds,
            has_ended=served.clock_ns >= self.hour.end_ns,
            oldest_served_ns=served.oldest_served_ns,
        )

    def _counts(
        self, served: ServedHour, first: FirstDeltas, coverage: Coverage
    ) -> dict[str, Any]:
        samples = served.samples
        baselines = int(first.is_baseline.sum())
        seen = len(samples.snapshot_ns) > 0
        return {
            "source_key": self.source_key,
            "hour": self.hour.index,
            "state": coverage.state,
            "expected_snapshots": coverage.expected_snapshots,
            "snapshots": len(samples.snapshot_ns),
            "samples": samples.served_samples,
            "used": len(samples.series) - baselines,
            "duplicates": samples.duplicates,
            "baselines": baselines,
            "quarantined": len(samples.bad_samples),
            "missing_minutes": coverage.missing_minutes,
            "first_ns": int(samples.snapshot_ns.min()) if seen else None,
            "last_ns": int(samples.snapshot_ns.max()) if seen else None,
            "content_hash": samples.content_hash(),
            "run_id": self.run_id,
        }

    def _result(
        self, outcome: Literal["collected", "unchanged"], counts: dict[str, Any], written: int
    ) -> CollectResult:
        names = ("state", "snapshots", "samples", "used", "duplicates", "baselines", "quarantined")
        return CollectResult(
            source_id=self.source.source_id,
            hour=self.hour,
            outcome=outcome,
            facts_written=written,
            **{name: counts[name] for name in names},
        )

    def _refuse_shrunk(
        self, served: ServedHour, stored_instants: Rows, instants: Rows
    ) -> CollectResult:
        """C13: what was billed stays; the exporter forgetting it is a finding, not a change."""
        missing = Difference(stored_instants, instants, ("node_key", "instant_ns"), ()).deleted
        message = (
            f"source {self.source.source_id}, hour {self.hour}: expected the "
            f"{len(stored_instants)} snapshots stored, got {len(instants)} without "
            f"{len(missing)} of them, the first of {format_instant_ns(int(missing['instant_ns'].min()))}; "
            "nothing was changed, the exporter has forgotten or lost them"
        )
        _log.warning("%s", message)
        collected.replace_findings(
            self.connection,
            self.source_key,
            self.hour,
            self.run_id,
            {
                ("history_shrunk", "snapshots"): {
                    "message": message,
                    "expected": len(stored_instants),
                    "actual": len(instants),
                }
            },
            ["history_shrunk"],
        )
        row = collected.source_hour_counts(self.connection, self.source_key, self.hour)
        collected.advance_checkpoint(self.connection, self.source_key)
        return CollectResult(
            source_id=self.source.source_id,
            hour=self.hour,
            outcome="history_shrunk",
            facts_written=0,
            **row,
        )


def _shrunk(stored_instants: Rows, instants: Rows) -> bool:
    """Whether a stored (node, instant) is not served any more (C13)."""
    return bool(len(Difference(stored_instants, instants, ("node_key", "instant_ns"), ()).deleted))


def _node_keys(
    samples: HourSamples, node_keys: dict[tuple[str, str], int]
) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([node_keys[key] for key in samples.nodes], dtype=np.int64)


def _quarantine_rows(
    samples: HourSamples, node_keys: dict[tuple[str, str], int]
) -> list[tuple[Any, ...]]:
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
