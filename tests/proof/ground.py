"""One world with its servers: everything that can be done to it, and what must then hold."""

import random
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
from oracle.money import period_start
from oracle.terms import HOUR_NS, MINUTE_NS, Result, Series
from oracle.worlds import random_version
from pipeline.world_harness import (
    JUDGED_FINDINGS,
    Found,
    assert_billed,
    assert_counted,
    assert_covered,
    assert_findings,
    assert_same,
    assert_states,
    version_of,
)

from billing_etl.counters import samples
from billing_etl.hours import Hour, HourRange, minute_start
from billing_etl.pipeline import early_facts
from billing_etl.pipeline.accounts import add_credit, close_period
from billing_etl.pipeline.collect import CollectSummary, collect_hours
from billing_etl.pipeline.deliver import DeliverResult, deliver_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.prices import PriceFile, publish_prices
from billing_etl.pipeline.rate import ensure_price, rate_hours
from billing_etl.pipeline.reconcile import reconcile_hours
from billing_etl.reconciliation import CheckResult
from billing_etl.store.prices import PlanMember, SourceRegion
from proof.consumer import Consumer, FactName
from proof.invariants import INVARIANTS, STATE, broken_invariants, fingerprints
from proof.model import Model, SourceModel
from proof.site import Site


class Ground:
    """The world, the database and bucket that it is billed in, and the model of what they saw.

    Attributes:
        done: what was done and compared, counted.
        audited: the oracle's answer to the world as the step's last collection left it.
        repeat: the last thing done, as a call that may be made again; None: nothing like that.
    """

    def __init__(self, site: Site, seed: int, done: Counter[str]) -> None:
        self.done = done
        self.model = Model.of_seed(seed)
        self.stack = ExitStack()
        self._choose_how_hours_are_written(random.Random(seed))
        self.engine: Engine = self.stack.enter_context(site.engine(self.model))
        self.connection = self.stack.enter_context(
            psycopg.connect(self.engine.database_url, autocommit=True)
        )
        self.consumer = Consumer(site.objects.client(), site.bucket, self.engine.settings.s3_prefix)
        self.audited: Result | None = None
        self.repeat: Callable[[], object] | None = None
        self.has_served_changed = False
        self.is_rated = True  # everything; as long as there is nothing
        self.is_exported = True  # everything that could be
        ensure_price(self.engine)  # the environment's price is the first there is
        self.before = fingerprints(self.connection)

    def _choose_how_hours_are_written(self, rng: random.Random) -> None:
        """In every second world each hour counts as large: it is written while it is read."""
        is_early = rng.random() < 0.5
        for module, name in ((early_facts, "LEAST_SAMPLES"), (samples, "BLOCK_SAMPLES")):
            self.stack.callback(setattr, module, name, getattr(module, name))
        early_facts.LEAST_SAMPLES, samples.BLOCK_SAMPLES = (0, 8) if is_early else (2**62, 2**62)
        self.done["worlds with hours written while they are read"] += is_early

    # --- the world -----------------------------------------------------------------------------

    def source(self, number: int) -> SourceModel:
        return self.model.sources[number % len(self.model.sources)]

    def hour(self, number: int) -> Hour:
        return Hour(self.model.hours[number % len(self.model.hours)])

    def some_hours(self, number: int, count: int) -> HourRange:
        first = self.hour(number)
        return HourRange(first, Hour(first.index + count))

    def all_hours(self) -> HourRange:
        return HourRange(Hour(self.model.hours.start), Hour(self.model.hours.stop))

    def worthwhile_hour(self, sources: Collection[SourceModel], number: int) -> Hour:
        """Mostly one of which something else is served than was collected.

        When there is none, the world goes on until there is, if it can.
        """
        hours = self._changed_hours(sources)
        for let_something_happen in (
            self._let_an_hour_pass,
            self._let_late_ones_arrive,
            self._edit,
        ):
            if not hours:
                let_something_happen()
                hours = self._changed_hours(sources)
        chosen = hours if hours and number else list(self.model.hours)
        return Hour(chosen[number % len(chosen)])

    def _changed_hours(self, sources: Collection[SourceModel]) -> list[int]:
        return [h for h in self.model.hours if any(each.differs(h) for each in sources)]

    def _let_an_hour_pass(self) -> None:
        self.pass_time(60)

    def _let_late_ones_arrive(self) -> None:
        for source in self.model.sources:
            source.let_late_ones_arrive(1.0, random.Random(0))

    def _edit(self) -> None:
        for source in self.model.sources:
            source.change_content(random.Random(self.model.now_ns + self.done["steps"]))

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.model.now_ns // 10**9, UTC)

    def pass_time(self, minutes: int) -> None:
        """Exporters serve more, some of it only later."""
        rng = random.Random(self.model.now_ns)
        self.model.now_ns += minutes * MINUTE_NS
        self.is_exported = False  # an hour may be due to be sealed by now
        for source in self.model.sources:
            source.pass_time(self.model.now_ns, rng)

    # --- collecting ----------------------------------------------------------------------------

    def collect(self, sources: list[SourceModel], hours: list[Hour]) -> None:
        def run() -> CollectSummary:
            of = [self.engine.settings.source(each.source_id) for each in sources]
            summary = collect_hours(self.engine, of, hours)
            assert summary.failures == []
            self.done["account-hours rated as they were written"] += sum(
                result.account_hours_rated for result in summary.results
            )
            return summary

        results = run().results
        for source in sources:
            for hour in hours:
                outcome = source.collect(hour.index)
                assert (results.pop(0).outcome == "history_shrunk") == (outcome != "collected")
        self.is_rated = self.is_exported = False
        self.repeat = run
        self._states_are_judged_by_what_is_served(sources, hours)

    def _states_are_judged_by_what_is_served(
        self, sources: list[SourceModel], hours: list[Hour]
    ) -> None:
        """Of the hour collected last: those before it were judged before it was known."""
        last = {
            (each.source_id, hours[-1].index)
            for each in sources
            if hours[-1].index in each.accepted
        }
        self.audited = self.model.audited(judged=hours[-1].index)
        assert_states(self.audited, Found(self.connection), last)
        self.done["states of hours equal to the oracle"] += len(last)

    def collect_and_rate_side_by_side(self, hours: list[Hour]) -> None:
        """Collections of all sources, one per hour, and two ratings at once."""
        with ThreadPoolExecutor(len(hours) + 2) as pool:
            collecting = [
                pool.submit(collect_hours, self.engine, self.engine.settings.sources, [hour])
                for hour in hours
            ]
            rating = [pool.submit(rate_hours, self.engine, self.all_hours()) for _ in range(2)]
            for each in rating:
                each.result()
            for summary in collecting:
                assert summary.result().failures == []
        for source in self.model.sources:
            for hour in hours:
                source.collect(hour.index)
        self.is_rated = self.is_exported = False

    def collect_while_one_refuses(self, broken: SourceModel, hour: Hour) -> None:
        """Nothing of a source-hour that fails is written; the others are."""
        broken.is_broken = True
        try:
            summary = collect_hours(self.engine, self.engine.settings.sources, [hour])
        finally:
            broken.is_broken = False
        assert [failure[0] for failure in summary.failures] == [broken.source_id]
        for source in self.model.sources:
            if source is not broken:
                source.collect(hour.index)
        self.is_rated = self.is_exported = False

    # --- money ---------------------------------------------------------------------------------

    def rate(self) -> None:
        def run() -> object:
            return rate_hours(self.engine, self.all_hours())

        run()
        self.is_rated = True
        self.repeat = run

    def publish_price(self, rng: random.Random) -> bool:
        """What was rated stays rated: publishing rates again what it touches (R2)."""
        book = self.model.book
        scope = rng.choice(("default", "plan", "account"))
        key = {
            "default": None,
            "plan": rng.choice(("gold", "silver")),
            "account": rng.choice(self.model.accounts),
        }[scope]
        version = random_version(rng, scope, key, self._some_minute(rng))
        names = ("scope", "key", "from_minute")
        if any(all(each[n] == version[n] for n in names) for each in book["versions"]):
            return False
        published = version_of(len(book["versions"]), version)
        publish_prices(self.engine, PriceFile([published], [], []))
        book["versions"].append(version)
        return True

    def publish_membership(self, rng: random.Random) -> bool:
        member = PlanMember(
            rng.choice(self.model.accounts),
            rng.choice(("gold", "silver", "")),
            self._some_minute(rng),
        )
        entry = {
            "account": member.account_uuid,
            "plan": member.plan or None,
            "from_minute": member.from_minute,
        }
        if _is_dated(self.model.book["plan_members"], entry, "account"):
            return False
        publish_prices(self.engine, PriceFile([], [member], []))
        self.model.book["plan_members"].append(entry)
        return True

    def publish_region(self, rng: random.Random) -> bool:
        known = [each.source_id for each in self.model.sources if each.stored]
        if not known:
            return False
        region = SourceRegion(
            rng.choice(known), rng.choice(("jp", "eu", "us")), self._some_minute(rng)
        )
        if _is_dated(self.model.book["source_regions"], asdict(region), "source_id"):
            return False
        publish_prices(self.engine, PriceFile([], [], [region]))
        self.model.book["source_regions"].append(asdict(region))
        return True

    def _some_minute(self, rng: random.Random) -> int:
        """Long ago, or within the world, now and then on an hour."""
        within = rng.randrange(self.model.hours.start * 60, self.model.hours.stop * 60)
        return rng.choice((1, within, within, within // 60 * 60))

    def credit(self, rng: random.Random) -> None:
        account = rng.choice(self.model.accounts)
        amount = rng.choice(("1", "0.000001", "25.75", "1000000"))
        add_credit(self.engine, account, Decimal(amount), "proof")
        self.model.book["credits"].append({"account": account, "amount": amount})

    def close_period(self, number: int) -> bool:
        labels = self._periods_to_close()
        if not labels:
            return False
        self.rate()  # a period with unrated usage is not closed
        close_period(self.engine, labels[number % len(labels)])
        self.model.closed_periods.add(labels[number % len(labels)])
        return True

    def _periods_to_close(self) -> list[str]:
        """The billing periods of the world's first and last hour that are not closed yet."""
        starts = {
            period_start(hour * 60, self.model.book["anchor_day"])
            for hour in (self.model.hours[0], self.model.hours[-1])
        }
        labels = {f"{minute_start(start):%Y-%m}" for start in starts}
        return sorted(labels - self.model.closed_periods)

    # --- delivering and reconciling ------------------------------------------------------------

    def export(self, of: HourRange) -> None:
        def run() -> list[DeliverResult]:
            return deliver_hours(self.engine, of, now=self.now())

        results = run()
        self.done["events delivered"] += self.consumer.read()
        sealed = {str(each.hour) for each in results if each.outcome != "open"}
        assert_same("sealed usage", self._delivered(sealed), self._facts(sealed))
        self.done["hours whose events sum to their facts"] += len(sealed)
        self.is_exported = set(self.all_hours()) <= set(of)
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
            FactName(*series, minute_start(minute).strftime("%Y-%m-%dT%H:%M:%SZ")): up + down
            for (series, minute), (up, down, *_) in found.items()
        }
        return {name: usage for name, usage in named.items() if name.minute[:13] in hours}

    def reconcile(self, of: HourRange, *, repair: bool) -> None:
        """What differs is work still to be done, or what an exporter serves beside lost history."""
        due = self._work_to_do(of)
        before = fingerprints(self.connection)
        checks = reconcile_hours(self.engine, of, repair=repair, now=self.now()).checks
        self.done["events delivered"] += self.consumer.read()
        self.done["hours reconciled"] += len(set(of))
        after = fingerprints(self.connection)
        changed = {name for name in after if after[name] != before[name]} - {"findings"}
        if not repair:
            assert not changed, f"reconcile without repair changed {changed}"
            assert _differing(checks) <= due, checks
            return
        for source in self.model.sources:
            self._collected_again_where_it_differed(source, of)
        assert _differing(checks) <= {"exporter_collected"}, checks
        if due:
            self.is_rated = self.is_exported = False
        else:
            assert not changed, f"reconcile without anything to repair changed {changed}"

    def _work_to_do(self, of: HourRange) -> set[str]:
        due = set() if self.is_rated else {"facts_ratings"}
        # Hours after the world's are collected now and then, too: those nobody has exported.
        is_exported = self.is_exported and set(of) <= set(self.all_hours())
        due |= set() if is_exported else {"facts_events"}
        if any(each.differs(hour.index) for each in self.model.sources for hour in of):
            due.add("exporter_collected")
        return due

    def _collected_again_where_it_differed(self, source: SourceModel, of: HourRange) -> None:
        """An ended hour, from the source's first one on."""
        first = min(source.stored, default=None)
        for hour in of:
            if first is None or hour.index < first or self.model.now_ns < hour.end_ns:
                continue
            if source.differs(hour.index):
                source.collect(hour.index)

    # --- what must hold ------------------------------------------------------------------------

    def do_again(self) -> None:
        """6: running anything again changes nothing."""
        if self.repeat is None:
            return
        before, listed = fingerprints(self.connection), dict(self.consumer.etags)
        self.repeat()
        after = fingerprints(self.connection)
        changed = sorted(name for name in before if before[name] != after[name])
        assert not changed, f"running it again changed {changed}"
        self.consumer.read()
        assert self.consumer.etags == listed
        self.done["replays that changed nothing"] += 1

    def check(self) -> None:
        """After a step: the invariants, and what the oracle computes from what was seen."""
        audited, self.audited = self.audited, None
        now = fingerprints(self.connection)
        changed = {name for name in now if now[name] != self.before[name]}
        self.before = now
        if changed & STATE:
            self.done["steps that changed the database"] += 1
        if changed & STATE or self.has_served_changed:
            self.done["steps that changed state"] += 1
        self.has_served_changed = False
        if changed:
            broken = broken_invariants(self.connection)
            assert not broken, "\n".join(broken)
            self.done["invariants checked"] += len(INVARIANTS)
            self._equals_the_oracle(audited)

    def _equals_the_oracle(self, audited: Result | None) -> None:
        result, found = audited or self.model.audited(), Found(self.connection)
        assert_counted(result, found)
        assert_covered(result, found)
        assert_findings(result, found, JUDGED_FINDINGS | {"conflicting_samples"})
        if self.is_rated:
            assert_billed(result, found)
            self.done["bills equal to the oracle"] += 1
        self.done["databases equal to the oracle"] += 1

    def settle(self) -> None:
        """Everything in order, and what is open once more: the end is the oracle's, and clean."""
        self.model.now_ns = max(self.model.now_ns, self.model.hours.stop * HOUR_NS)
        for source in self.model.sources:
            source.pass_time(self.model.now_ns, random.Random(0))
            source.let_late_ones_arrive(1.0, random.Random(0))
        self.collect(self.model.sources, list(self.all_hours()))
        for (source_id, hour), row in sorted(Found(self.connection).coverage.items()):
            if row[0] == "partial":
                of = [each for each in self.model.sources if each.source_id == source_id]
                self.collect(of, [Hour(hour)])
        self.rate()
        self.export(self.all_hours())
        self.check()
        result = self.model.audited()
        accepted = {(each.source_id, hour) for each in self.model.sources for hour in each.accepted}
        assert_states(result, Found(self.connection), accepted)
        if not any(source.times_forgotten for source in self.model.sources):
            # Without the model's account of what was seen when: everything was, and is served.
            assert_same_hours(self.model.audited_as_served(), result)
            self.done["worlds equal to the oracle without the model"] += 1
        self.reconcile(self.all_hours(), repair=True)
        self.done["worlds equal to the oracle at the end"] += 1


def _is_dated(entries: list[dict[str, Any]], new: dict[str, Any], key: str) -> bool:
    return any(
        (each[key], each["from_minute"]) == (new[key], new["from_minute"]) for each in entries
    )


def _differing(checks: list[CheckResult]) -> set[str]:
    return {each.check for each in checks if each.status == "different"}


def assert_same_hours(one: Any, other: Any) -> None:
    for name in ("facts", "closings", "resets", "gaps"):
        for key in other.hours:
            found, expected = getattr(one.hours[key], name), getattr(other.hours[key], name)
            assert found == expected, f"{name} of {key}: {found} is not {expected}"
