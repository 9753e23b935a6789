"""Makes the stored state of a source-hour what is served, in the caller's transaction."""

import logging
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from billing_etl.counters import (
    CounterPolicy,
    Coverage,
    FirstDeltas,
    HourDeltas,
    HourSamples,
    NodeCoverage,
    SampleBlock,
    cover_hour,
)
from billing_etl.hours import NS_PER_MINUTE, Hour, format_instant_ns
from billing_etl.pipeline.early_facts import EarlyFacts, GivenUpError, StoredHour
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.fact_writer import FactWriter
from billing_etl.pipeline.fetch import ServedHour
from billing_etl.pipeline.first_sight import FirstContext, JudgedHour, first_context
from billing_etl.pipeline.history import HourFirsts, InnerHistory, write_history
from billing_etl.pipeline.hour_rows import (
    closing_rows,
    forgotten_instants,
    instant_rows,
    node_key_column,
    quarantine_rows,
)
from billing_etl.pipeline.judge_again import judge_again
from billing_etl.pipeline.lookback import write_lookback
from billing_etl.pipeline.rate_fresh import FreshRating, HourPrices
from billing_etl.records import Int64Array
from billing_etl.settings import Source
from billing_etl.store import archives, collected
from billing_etl.store.columns import Rows, replace_rows
from billing_etl.store.database import Connection
from billing_etl.store.facts import lock_sealings, stored_facts
from billing_etl.store.sources import RegisteredSeries, register_nodes, register_series

_log = logging.getLogger(__name__)
_CLOCK_AHEAD_NS: Final = 5 * NS_PER_MINUTE


@dataclass(frozen=True, slots=True)
class CollectResult:
    """What one collection of a source-hour did. Counts are samples unless named otherwise.

    ``facts_unchanged``: facts that stood already as they are, which were left alone.
    ``account_hours_rated``: rated in the same write (R4); `rate` does the others.
    """

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
    facts_unchanged: int
    account_hours_rated: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"hour": str(self.hour)}


class HourWriter:
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
        self.who = f"source {source.source_id}, hour {hour}"
        self.policy = CounterPolicy(
            source.interval_seconds, source.first_sight, source.max_bits_per_second
        )

    def prices(self, served: ServedHour) -> HourPrices | None:
        """What the hour can be rated with as it is written; None: that is left to `rate`.

        For an hour that was never collected: one that is collected again, or that is still to be,
        is rated once it is at rest. Makes rates known, so the caller commits: nobody who rates may
        wait for this hour's transaction.
        """
        if self._coverage(served).state == "partial":
            return None
        return HourPrices.read(
            self.connection,
            self.engine,
            self.source.source_id,
            self.hour,
            served.samples.series_keys,
        )

    def write(
        self,
        served: ServedHour,
        prices: HourPrices | None,
        early: EarlyFacts | None = None,
        stored: StoredHour | None = None,
    ) -> CollectResult:
        """Writes everything, or, of an hour partly forgotten, only the finding (C13).

        Args:
            served: the hour.
            prices: what it is rated with; None: not here.
            early: what this transaction has written already.
            stored: what is stored of the hour; None: that is still to be read.

        Raises:
            GivenUpError: what was written early is not to be written; nothing may be committed.
        """
        samples = served.samples
        node_keys = self._register_nodes(served)
        instants = instant_rows(samples, node_keys, provisional=False)
        stored_instants = self._stored("instants", collected.INSTANT)
        forgotten = forgotten_instants(stored_instants, instants)
        if len(forgotten) and early:
            raise GivenUpError(f"{self.who}: the exporter has forgotten snapshots of look-back")
        if len(forgotten):
            return self._refuse_shrunk(served, stored_instants, instants, forgotten)

        # Before accounts and series: every run locks in one order. From this hour on is enough, as
        # look-back is of nodes without a closing before it, so without a fact that could change.
        sealings = lock_sealings(self.connection, self.hour, self.who)
        archives.refuse(self.connection, self.hour, self.who)  # not any more while that is held
        whole = early.whole if early else stored.judge(served, self.policy) if stored else None
        series = whole.series if whole else self._register_series(served, node_keys)
        own = len(samples.series_keys)
        series_ids, lookback_ids = series.series_ids[:own], series.series_ids[own:]
        changed = write_lookback(
            self.connection, self.source_key, served.lookback, node_keys, lookback_ids
        )
        judged = whole.judged if whole else self._judged(served, node_keys, series_ids)
        context, first, deltas = judged.context, judged.first, judged.deltas
        facts = FactWriter(self.connection, sealings)
        if early:
            rating = early.rating
            if whole:
                facts.take_early(early)
            else:
                facts.take_rest(samples, series_ids, deltas, early)
        else:
            rating = self._rating(prices, samples, series)
            if len(stored_instants):
                stored_facts_of = stored.facts_of if stored else self._stored_facts
                facts.take_hour(samples, series_ids, deltas, stored_facts_of, rating)
            else:
                facts.take_new_hour(samples, series_ids, deltas, rating)
        instants["compared"], instants["fell"] = deltas.compared, deltas.fell
        instants["quantity"] = deltas.quantity

        differs = replace_rows(
            self.connection,
            "billing_core.node_instants",
            stored_instants,
            instants,
            ("node_key", "instant_ns"),
        )
        differs |= replace_rows(
            self.connection,
            "billing_core.closings",
            stored.closings if stored else self._stored_closings(),
            closing_rows(self.hour, samples, series_ids, context.samples, first, deltas),
            ("series_id", "hour"),
        )
        if differs:
            changed.add(self.hour)
        present = {node_keys[key] for key in samples.nodes}
        closed = {
            node_keys[samples.nodes[node]]
            for node in np.unique(samples.series_node[samples.first.series]).tolist()
        }
        changed |= collected.drop_provisional(self.connection, sorted(closed), self.hour)
        collected.forget_lookback_presence(self.connection, self.source_key, self.hour)
        collected.replace_quarantine(
            self.connection, self.source_key, self.hour, quarantine_rows(samples, node_keys)
        )
        firsts = HourFirsts(
            series_id=series_ids[samples.first.series],
            node_key=node_key_column(samples, node_keys)[samples.series_node[samples.first.series]],
            snapshot=samples.first.snapshot,
            samples=context.samples,
            judged=first,
        )
        inner = self._inner_history(served, series_ids, node_keys, deltas, context)
        write_history(
            self.connection, self.source_key, self.hour, self.run_id, self.policy, firsts, inner
        )
        if changed:
            touched = sorted(present | set(stored_instants["node_key"].tolist()))
            for difference in judge_again(
                self.connection,
                self.source_key,
                changed,
                self.hour,
                touched,
                self.run_id,
                self.policy,
            ):
                facts.take(difference)
        coverage = self._coverage(served)
        counts = self._counts(served, first, coverage)
        if collected.upsert_source_hour(self.connection, counts):
            changed.add(self.hour)
        for hour in sorted(changed):
            collected.expect_nodes_later(self.connection, self.source_key, hour, self.run_id)
        collected.advance_checkpoint(self.connection, self.source_key, self.hour)
        if coverage.state == "partial":
            rating = None  # more will come, and with it another rating
        # At the end: from here on this run holds up whoever rates.
        if rating is not None:
            rating.confirm(may_wait=not series.are_new)
        usage = facts.finish(self.who)
        rated = 0 if rating is None else rating.post(usage, self.run_id)
        outcome: Literal["collected", "unchanged"] = (
            "collected" if changed or facts.written else "unchanged"
        )
        return self._result(outcome, counts, facts, rated)

    def _judged(
        self,
        served: ServedHour,
        node_keys: dict[tuple[str, str], int],
        series_ids: Int64Array,
    ) -> JudgedHour:
        samples = served.samples
        context = first_context(
            self.connection,
            self.source_key,
            self.hour,
            samples,
            served.lookback,
            node_keys,
            series_ids,
        )
        return JudgedHour.of(samples, context, self.policy)

    def _stored_facts(self, block: SampleBlock) -> Rows:
        """The stored facts of the block's minutes."""
        of = (block.from_minute, block.until_minute)
        return stored_facts(self.connection, self.source_key, self.hour, *of)

    def _rating(
        self, prices: HourPrices | None, samples: HourSamples, series: RegisteredSeries
    ) -> FreshRating | None:
        if prices is None:
            return None
        return FreshRating(
            self.connection,
            self.engine,
            self.source_key,
            self.hour,
            prices,
            samples.series_keys,
            series.account_keys[: len(samples.series_keys)],
        )

    # --- rows -------------------------------------------------------------------------------

    def _stored(self, name: str, dtype: np.dtype[np.void]) -> Rows:
        return collected.stored(self.connection, name, self.source_key, self.hour, dtype)

    def _stored_closings(self) -> Rows:
        return collected.stored_closings(self.connection, self.source_key, self.hour)

    def _register_nodes(self, served: ServedHour) -> dict[tuple[str, str], int]:
        return register_nodes(
            self.connection,
            self.source,
            self.source_key,
            [*served.samples.nodes, *served.lookback.nodes],
        )

    def _register_series(
        self, served: ServedHour, node_keys: dict[tuple[str, str], int]
    ) -> RegisteredSeries:
        """The hour's series, then the look-back's.

        Registered together: two sources that add the same accounts then do so in one order.
        """
        return register_series(
            self.connection,
            node_keys,
            (served.samples.series_keys, served.lookback.series_keys),
            self.engine.settings.initial_balance,
        )

    # --- history, coverage, result ----------------------------------------------------------

    def _inner_history(
        self,
        served: ServedHour,
        series_ids: Int64Array,
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
            node_key_column(samples, node_keys),
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
            served_later=served.served_later,
        )

    def _counts(self, served: ServedHour, first: FirstDeltas, coverage: Coverage) -> dict[str, Any]:
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
            "used": samples.used_samples - baselines,
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
        self,
        outcome: Literal["collected", "unchanged"],
        counts: dict[str, Any],
        facts: FactWriter,
        rated: int,
    ) -> CollectResult:
        names = ("state", "snapshots", "samples", "used", "duplicates", "baselines", "quarantined")
        return CollectResult(
            source_id=self.source.source_id,
            hour=self.hour,
            outcome=outcome,
            facts_written=facts.written,
            facts_unchanged=facts.unchanged,
            account_hours_rated=rated,
            **{name: counts[name] for name in names},
        )

    def _refuse_shrunk(
        self, served: ServedHour, stored_instants: Rows, instants: Rows, forgotten: Rows
    ) -> CollectResult:
        """C13: what was billed stays; the exporter forgetting it is a finding, not a change."""
        first_ns = int(forgotten["instant_ns"].min())
        message = (
            f"source {self.source.source_id}, hour {self.hour}: expected the "
            f"{len(stored_instants)} snapshots stored, got {len(instants)} without "
            f"{len(forgotten)} of them, the first of {format_instant_ns(first_ns)}; "
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
        if served.oldest_served_ns is not None and served.oldest_served_ns >= self.hour.end_ns:
            # Nothing of the hour is served any more, so what is missing will never come (C12).
            collected.give_up_partial_hour(self.connection, self.source_key, self.hour, self.run_id)
        row = collected.source_hour_counts(self.connection, self.source_key, self.hour)
        collected.advance_checkpoint(self.connection, self.source_key, self.hour)
        return CollectResult(
            source_id=self.source.source_id,
            hour=self.hour,
            outcome="history_shrunk",
            facts_written=0,
            facts_unchanged=0,
            account_hours_rated=0,
            **row,
        )
