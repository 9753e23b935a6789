"""A state machine that grows a world and does everything to it in any order (hypothesis).

After every step the invariants hold and the tables hold what the oracle computes from what was
seen; what is done a second time changes nothing. At the end, everything once more in order.
"""

import random
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from oracle.money import period_start
from oracle.terms import HOUR_NS, MINUTE_NS, Series
from oracle.worlds import random_version
from pipeline.world_harness import (
    JUDGED_FINDINGS,
    Found,
    assert_billed,
    assert_counted,
    assert_covered,
    assert_findings,
    assert_states,
    version_of,
)

from billing_etl.hours import Hour, HourRange, minute_start
from billing_etl.pipeline.accounts import add_credit, close_period
from billing_etl.pipeline.collect import CollectSummary, collect_hours
from billing_etl.pipeline.deliver import DeliverResult, deliver_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.prices import PriceFile, publish_prices
from billing_etl.pipeline.rate import ensure_price, rate_hours
from billing_etl.pipeline.reconcile import ReconcileResult, reconcile_hours
from billing_etl.settings import Source
from billing_etl.store.prices import PlanMember, SourceRegion
from proof.consumer import Consumer, FactName
from proof.invariants import broken_invariants, fingerprints, tables
from proof.model import Model, SourceModel
from proof.site import Site

SEEDS = st.integers(0, 2**32 - 1)
NUMBERS = st.integers(0, 5)
MINUTES = st.sampled_from((0, 60, 20, 5, 120))
TWICE = st.sampled_from((False, True, False))


class Billing(RuleBasedStateMachine):
    """One world, from the first snapshot to the last correction."""

    site: ClassVar[Site]
    done: ClassVar[Counter[str]] = Counter()  # over all worlds, for the report

    @initialize(seed=SEEDS)
    def begin(self, seed: int) -> None:
        self.model = Model.of_seed(seed)
        self.stack = ExitStack()
        self.engine: Engine = self.stack.enter_context(self.site.engine(self.model))
        self.connection = self.stack.enter_context(
            psycopg.connect(self.engine.database_url, autocommit=True)
        )
        self.tables = tables(self.connection)
        self.before = fingerprints(self.connection, self.tables)
        settings = self.engine.settings
        self.consumer = Consumer(self.site.objects.client(), self.site.bucket, settings.s3_prefix)
        self.repeat: Callable[[], object] = lambda: None
        self.is_seeded = False  # the environment's price was taken
        self.is_rated = False  # everything, and nothing has changed since
        self.is_exported = False
        self.is_healthy = True
        self.done["worlds"] += 1

    # --- the world goes on ---------------------------------------------------------------------

    @rule(share=st.sampled_from((1.0, 0.3)), seed=SEEDS)
    @precondition(lambda self: any(source.held_back for source in self.model.sources))
    def late_snapshots_arrive(self, share: float, seed: int) -> None:
        rng = random.Random(seed)
        arrived = sum(each.let_late_ones_arrive(share, rng) for each in self.model.sources)
        self._world_changed("late snapshots arrive", arrived > 0)

    @rule(number=NUMBERS, minutes=st.sampled_from((20, 90)))
    @precondition(lambda self: self.model.now_ns // HOUR_NS > self.model.hours.start + 1)
    def exporter_forgets(self, number: int, minutes: int) -> None:
        source = self._source(number)
        served = source.served()
        oldest_ns = served[0].at_ns if served else self.model.now_ns
        forgotten = source.forget(oldest_ns + minutes * MINUTE_NS)
        self._world_changed("exporter forgets", forgotten > 0)

    @rule(number=NUMBERS, seed=SEEDS)
    @precondition(lambda self: any(source.kept for source in self.model.sources))
    def content_changes(self, number: int, seed: int) -> None:
        changed = self._source(number).change_content(random.Random(seed))
        self._world_changed("content changes", changed)

    @rule(number=NUMBERS, seed=SEEDS)
    @precondition(lambda self: any(source.kept for source in self.model.sources))
    def bad_sample_is_repaired(self, number: int, seed: int) -> None:
        changed = self._source(number).repair_bad_sample(random.Random(seed))
        self._world_changed("bad sample is repaired", changed)

    def _pass_time(self, minutes: int) -> None:
        """Before something is collected: exporters serve more, some of it only later."""
        rng = random.Random(self.model.now_ns)
        self.model.now_ns += minutes * MINUTE_NS
        for source in self.model.sources:
            source.pass_time(self.model.now_ns, rng)

    # --- collecting ----------------------------------------------------------------------------

    @rule(minutes=MINUTES, number=NUMBERS, hour=NUMBERS, twice=TWICE)
    def collect_an_hour(self, minutes: int, number: int, hour: int, twice: bool) -> None:
        self._pass_time(minutes)
        source = self._source(number)
        self._collect([source], [self._worthwhile_hour([source], hour)])
        self._did("collect an hour", twice)

    @rule(minutes=MINUTES, number=NUMBERS, hours=st.lists(NUMBERS, min_size=2, max_size=4))
    def collect_hours_of_a_source(self, minutes: int, number: int, hours: list[int]) -> None:
        self._pass_time(minutes)
        self._collect([self._source(number)], [self._hour(hour) for hour in hours])
        self._did("collect hours of a source")

    @rule(minutes=MINUTES, hour=NUMBERS)
    def collect_an_hour_everywhere(self, minutes: int, hour: int) -> None:
        self._pass_time(minutes)
        self._collect(self.model.sources, [self._worthwhile_hour(self.model.sources, hour)])
        self._did("collect an hour everywhere")

    @rule(minutes=MINUTES, first=NUMBERS, second=NUMBERS)
    def collect_and_rate_side_by_side(self, minutes: int, first: int, second: int) -> None:
        """Two collections of the same sources and two ratings at once."""
        self._pass_time(minutes)
        self._seed_price()
        hours = [self._worthwhile_hour(self.model.sources, each) for each in (first, second)]
        with ThreadPoolExecutor(4) as pool:
            collecting = [
                pool.submit(collect_hours, self.engine, self.engine.settings.sources, [hour])
                for hour in hours
            ]
            rating = [pool.submit(rate_hours, self.engine, self._range()) for _ in range(2)]
            for each in rating:
                each.result()
            for summary in collecting:
                assert summary.result().failures == []
        for source in self.model.sources:
            for hour in hours:
                source.collect(hour.index)
        self.is_rated = self.is_exported = False
        self._did("collect and rate side by side")

    @rule(number=NUMBERS, hour=NUMBERS)
    def collect_from_a_broken_exporter(self, number: int, hour: int) -> None:
        """Nothing of a source-hour that fails is written; the others are."""
        broken = self._source(number)
        broken.is_broken = True
        try:
            summary = collect_hours(self.engine, self.engine.settings.sources, [self._hour(hour)])
        finally:
            broken.is_broken = False
        assert [failure[0] for failure in summary.failures] == [broken.source_id]
        for source in self.model.sources:
            if source is not broken:
                source.collect(self._hour(hour).index)
        self.is_rated = self.is_exported = False
        self._did("collect from a broken exporter")

    # --- money ---------------------------------------------------------------------------------

    @rule(twice=TWICE)
    @precondition(lambda self: not self.is_rated)
    def rate(self, twice: bool) -> None:
        self._rate()
        self._did("rate", twice)

    @rule(seed=SEEDS)
    def publish_a_price(self, seed: int) -> None:
        rng, book = random.Random(seed), self.model.book
        scope = rng.choice(("default", "plan", "account"))
        key = {
            "default": None,
            "plan": rng.choice(("gold", "silver")),
            "account": rng.choice(self.model.accounts),
        }[scope]
        version = random_version(rng, scope, key, self._some_minute(rng))
        known = {(each["scope"], each["key"], each["from_minute"]) for each in book["versions"]}
        if (scope, key, version["from_minute"]) in known:
            return
        self._seed_price()
        number = len(book["versions"])
        publish_prices(self.engine, PriceFile([version_of(number, version)], [], []))
        book["versions"].append(version)
        self._prices_changed("publish a price")

    @rule(seed=SEEDS)
    def publish_a_membership(self, seed: int) -> None:
        rng, book = random.Random(seed), self.model.book
        account, plan = rng.choice(self.model.accounts), rng.choice(("gold", "silver", ""))
        from_minute = self._some_minute(rng)
        if (account, from_minute) in {
            (each["account"], each["from_minute"]) for each in book["plan_members"]
        }:
            return
        self._seed_price()
        publish_prices(self.engine, PriceFile([], [PlanMember(account, plan, from_minute)], []))
        book["plan_members"].append(
            {"account": account, "plan": plan or None, "from_minute": from_minute}
        )
        self._prices_changed("publish a membership")

    @rule(seed=SEEDS)
    @precondition(lambda self: any(source.stored for source in self.model.sources))
    def publish_a_region(self, seed: int) -> None:
        rng, book = random.Random(seed), self.model.book
        source_id = rng.choice([each.source_id for each in self.model.sources if each.stored])
        region = SourceRegion(source_id, rng.choice(("jp", "eu", "us")), self._some_minute(rng))
        if (source_id, region.from_minute) in {
            (each["source_id"], each["from_minute"]) for each in book["source_regions"]
        }:
            return
        self._seed_price()
        publish_prices(self.engine, PriceFile([], [], [region]))
        book["source_regions"].append(asdict(region))
        self._prices_changed("publish a region")

    @rule(number=NUMBERS, amount=st.sampled_from(("1", "0.000001", "25.75", "1000000")))
    def credit(self, number: int, amount: str) -> None:
        self._seed_price()
        account = self.model.accounts[number % len(self.model.accounts)]
        add_credit(self.engine, account, Decimal(amount), "proof")
        self.model.book["credits"].append({"account": account, "amount": amount})
        self._did("credit")

    @rule(number=st.integers(0, 1))
    @precondition(lambda self: self._periods_to_close())
    def close_a_period(self, number: int) -> None:
        labels = self._periods_to_close()
        self._rate()
        close_period(self.engine, labels[number % len(labels)])
        self.model.closed_periods.add(labels[number % len(labels)])
        self._did("close a period")

    # --- delivering and reconciling ------------------------------------------------------------

    @rule(first=NUMBERS, hours=st.sampled_from((8, 1, 2)), twice=TWICE)
    @precondition(lambda self: not self.is_exported)
    def export(self, first: int, hours: int, twice: bool) -> None:
        self._export(HourRange(self._hour(first), Hour(self._hour(first).index + hours)))
        self._did("export", twice)

    @rule(first=NUMBERS, hours=st.sampled_from((8, 1, 2)), repair=st.booleans())
    def reconcile(self, first: int, hours: int, repair: bool) -> None:
        of = HourRange(self._hour(first), Hour(self._hour(first).index + hours))
        self._seed_price()
        before = fingerprints(self.connection, self.tables)
        result = self._reconcile(of, repair=repair)
        # After repair only what the exporter serves beside what it has forgotten may differ (C13).
        assert_only_work_to_do(result, {"exporter_collected"} if repair else WORK_TO_DO)
        if repair:
            # What differs from what is served now is collected again, and what is stale rated.
            for source in self.model.sources:
                self._collect_again_where_it_differs(source, of)
            self.is_rated = self.is_exported = False
        else:
            after = fingerprints(self.connection, self.tables)
            changed = {name for name in before if before[name] != after[name]}
            assert changed <= {"findings"}, changed
        self._did("reconcile" if repair else "reconcile without repair")

    # --- after every step ----------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        if not self.is_healthy:
            return
        self.is_healthy = False
        now = fingerprints(self.connection, self.tables)
        if now != self.before:
            self.before = now
            self.done["steps that changed the database"] += 1
            broken = broken_invariants(self.connection)
            assert not broken, "\n".join(broken)
            self.done["invariants checked"] += 9
            self._equals_the_oracle()
        self.is_healthy = True

    def _equals_the_oracle(self) -> None:
        result, found = self.model.audited(), Found(self.connection)
        assert_counted(result, found)
        assert_covered(result, found)
        assert_findings(result, found, JUDGED_FINDINGS | {"conflicting_samples"})
        if self.is_rated:
            assert_billed(result, found)
            self.done["bills equal to the oracle"] += 1
        self.done["states equal to the oracle"] += 1

    def teardown(self) -> None:
        if not hasattr(self, "stack"):
            return
        with self.stack:
            if self.is_healthy:
                self._settle()

    def _settle(self) -> None:
        """Everything in order, and what is open once more: the end is the oracle's, and clean."""
        self.model.now_ns = max(self.model.now_ns, self.model.hours.stop * HOUR_NS)
        rng = random.Random(0)
        for source in self.model.sources:
            source.pass_time(self.model.now_ns, rng)
            source.let_late_ones_arrive(1.0, rng)
        self._collect(self.model.sources, [Hour(index) for index in self.model.hours])
        for (source_id, hour), row in sorted(Found(self.connection).coverage.items()):
            if row[0] == "partial":
                of = [each for each in self.model.sources if each.source_id == source_id]
                self._collect(of, [Hour(hour)])
        self._rate()
        self._export(self._range())
        result, found = self.model.audited(), Found(self.connection)
        assert_counted(result, found)
        assert_covered(result, found)
        accepted = {(each.source_id, hour) for each in self.model.sources for hour in each.accepted}
        assert_states(result, found, accepted)
        assert_billed(result, found)
        broken = broken_invariants(self.connection)
        assert not broken, "\n".join(broken)
        # After this only what is served beside what was forgotten may differ (C13).
        checks = self._reconcile(self._range(), repair=True).checks
        assert {each.status for each in checks if each.check != "exporter_collected"} <= {
            "clean",
            "skipped",
        }, checks
        self.done["worlds equal to the oracle at the end"] += 1

    # --- helpers -------------------------------------------------------------------------------

    def _source(self, number: int) -> SourceModel:
        return self.model.sources[number % len(self.model.sources)]

    def _settings(self, source: SourceModel) -> Source:
        return self.engine.settings.source(source.source_id)

    def _hour(self, number: int) -> Hour:
        return Hour(self.model.hours[number % len(self.model.hours)])

    def _worthwhile_hour(self, sources: list[SourceModel], number: int) -> Hour:
        """Mostly one of which something else is served than was collected."""
        hours = list(self.model.hours)
        worthwhile = [hour for hour in hours if any(each.differs(hour) for each in sources)]
        chosen = worthwhile if worthwhile and number else hours
        return Hour(chosen[number % len(chosen)])

    def _range(self) -> HourRange:
        return HourRange(Hour(self.model.hours.start), Hour(self.model.hours.stop))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.model.now_ns // 10**9, UTC)

    def _periods_to_close(self) -> list[str]:
        """The billing periods of the world's first and last hour that are not closed yet."""
        labels = []
        for hour in (self.model.hours[0], self.model.hours[-1]):
            anchor_day = self.model.book["anchor_day"]
            start = minute_start(period_start(hour * 60, anchor_day))
            labels.append(f"{start:%Y-%m}")
        return sorted(set(labels) - self.model.closed_periods)

    def _some_minute(self, rng: random.Random) -> int:
        """Long ago, or within the world, now and then on an hour."""
        within = rng.randrange(self.model.hours.start * 60, self.model.hours.stop * 60)
        return rng.choice((1, within, within, within // 60 * 60))

    def _collect(self, sources: list[SourceModel], hours: list[Hour]) -> None:
        def run() -> CollectSummary:
            summary = collect_hours(self.engine, [self._settings(each) for each in sources], hours)
            assert summary.failures == []
            return summary

        summary = run()
        outcomes = [
            (source, hour, source.collect(hour.index)) for source in sources for hour in hours
        ]
        for result, (_, _, outcome) in zip(summary.results, outcomes, strict=True):
            assert (result.outcome == "history_shrunk") == (outcome == "history_shrunk")
        self.is_rated = self.is_exported = False
        self.repeat = run

    def _seed_price(self) -> None:
        """The environment's price is the first there is, as every scheduled run sees to."""
        if not self.is_seeded:
            ensure_price(self.engine)
            self.is_seeded = True

    def _rate(self) -> None:
        rate_hours(self.engine, self._range())
        self.is_seeded = True
        self.is_rated = True
        self.repeat = lambda: rate_hours(self.engine, self._range())

    def _export(self, of: HourRange) -> None:
        def run() -> list[DeliverResult]:
            return deliver_hours(self.engine, of, now=self._now())

        results = run()
        self.done["events delivered"] += self.consumer.read()
        sealed = {str(each.hour) for each in results if each.outcome != "open"}
        assert self._delivered(sealed) == self._facts(sealed)
        self.is_exported = of.start.index <= self.model.hours[0] and len(list(of)) > 2
        self.repeat = run

    def _delivered(self, hours: set[str]) -> dict[FactName, int]:
        return {
            name: usage
            for name, usage in self.consumer.usage.items()
            if usage and name.minute[:13] in hours
        }

    def _facts(self, hours: set[str]) -> dict[FactName, int]:
        found: dict[tuple[Series, int], Any] = Found(self.connection).facts
        named = {
            FactName(*series, minute=minute_start(minute).strftime("%Y-%m-%dT%H:%M:%SZ")): up + down
            for (series, minute), (up, down, *_) in found.items()
        }
        return {name: usage for name, usage in named.items() if name.minute[:13] in hours}

    def _reconcile(self, of: HourRange, *, repair: bool) -> ReconcileResult:
        result = reconcile_hours(self.engine, of, repair=repair, now=self._now())
        self.done["events delivered"] += self.consumer.read()
        self.done["hours reconciled"] += len(list(of))
        return result

    def _collect_again_where_it_differs(self, source: SourceModel, of: HourRange) -> None:
        first = min(source.stored, default=None)
        for hour in of:
            if first is None or hour.index < first or self.model.now_ns < hour.end_ns:
                continue
            if source.differs(hour.index):
                source.collect(hour.index)

    def _prices_changed(self, what: str) -> None:
        self.is_rated = self.is_exported = False
        self._did(what)

    def _world_changed(self, what: str, changed: bool) -> None:
        if changed:
            self.done["steps that changed what is served"] += 1
        self._did(what)

    def _did(self, what: str, twice: bool = False) -> None:
        self.done[f"step: {what}"] += 1
        self.done["steps"] += 1
        if twice:
            self._do_again()

    def _do_again(self) -> None:
        """6: running anything again changes nothing."""
        before, listed = fingerprints(self.connection, self.tables), dict(self.consumer.etags)
        self.repeat()
        after = fingerprints(self.connection, self.tables)
        changed = sorted(name for name in before if before[name] != after[name])
        assert not changed, f"running it again changed {changed}"
        self.consumer.read()
        assert self.consumer.etags == listed
        self.done["replays that changed nothing"] += 1


# What may differ while work is still to be done: something to collect, to rate, or to seal.
WORK_TO_DO = frozenset({"exporter_collected", "facts_ratings", "facts_events"})


def assert_only_work_to_do(result: ReconcileResult, allowed: Collection[str]) -> None:
    """The tables agree with each other at all times."""
    differing = [
        check
        for check in result.checks
        if check.status == "different" and check.check not in allowed
    ]
    assert not differing, differing
