"""Any two hours of any small source, computed by the pure rooms alone and by the oracle.

What stands before the hour is looked up here in a plain dict; the database does that in the
pipeline. Everything else is the code that runs in production, without a service.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from oracle import oracle, terms

from billing_etl.counters import (
    CounterPolicy,
    FirstDeltas,
    FirstSamples,
    HourDeltas,
    HourSamples,
    MinuteFacts,
    NodeCoverage,
    SampleCollector,
    cover_hour,
    judge_first_deltas,
)
from billing_etl.counters.history import (
    first_findings,
    first_gaps,
    first_resets,
    node_gaps,
    reset_classes,
    reset_findings,
)
from billing_etl.counters.series import SeriesKey
from billing_etl.hours import NS_PER_SECOND, format_instant_ns, parse_hour
from billing_etl.pipeline.history import InnerHistory
from billing_etl.records import BadSample, Int64Array, Snapshot

HOUR = parse_hour("2026-04-08T12")
SOURCE = "jp-1"
ACCOUNTS = [f"3f2b0a1c-0000-4000-8000-00000000000{letter}" for letter in "ab"]
SERIES = [(account, tag) for account in ACCOUNTS for tag in ("tcp", "")]
NODES = ("node-1", "node-2")
PRICE = {"scope": "default", "from_minute": 0, "price_per_byte": "1"}
BOOK = {"versions": [PRICE], "plan_members": [], "source_regions": [], "credits": []}

SEEDS = [range(at, at + 50) for at in range(0, 250, 50)]
Totals = Mapping[tuple[str, str], tuple[int, int]]


class Served(NamedTuple):
    """One snapshot as an exporter would serve it; ``bad`` samples have an unreadable uuid."""

    instant_ns: int
    node: str
    totals: Totals
    bad: int

    def as_record(self) -> Snapshot:
        return Snapshot(
            self.instant_ns,
            "prod",
            self.node,
            [account for account, _ in self.totals],
            [tag for _, tag in self.totals],
            [up for up, _ in self.totals.values()],
            [down for _, down in self.totals.values()],
            [BadSample("uuid_malformed", "{}", None, None)] * self.bad,
        )

    def as_json(self) -> dict[str, Any]:
        rows = [(account, tag, *totals) for (account, tag), totals in self.totals.items()]
        rows += [("nobody", "tcp", 0, 0)] * self.bad
        names = ("uuid", "inbound_tag", "uplink_bytes_total", "downlink_bytes_total")
        return {
            "collected_at": format_instant_ns(self.instant_ns),
            "env": "prod",
            "node_id": self.node,
            "samples": [dict(zip(names, row, strict=True)) for row in rows],
        }


@dataclass
class World:
    policy: CounterPolicy
    served: list[Served]
    now_ns: int

    def within(self, from_ns: int, until_ns: int) -> list[Served]:
        return [each for each in self.served if from_ns <= each.instant_ns < until_ns]


def random_world(seed: int) -> World:
    """Counters that grow, rest, fall and are left out, from an hour before to a bit after."""
    rng = random.Random(seed)
    policy = CounterPolicy(
        interval_seconds=rng.choice((60, 300, 600)),
        first_sight=rng.choice(("auto", "auto", "charge", "baseline")),
        max_bits_per_second=rng.choice((10**9, 10**9, 3)),
    )
    counters = {(node, series): (0, 0) for node in NODES for series in SERIES}
    # Steps of ten seconds from 11:00 to 13:10: some close to each other, some far apart.
    starts = [rng.randrange(130 * 6) for _ in range(rng.randrange(1, 5))]
    ticks = [
        start + rng.choice((0, 1, 3, 6, 15, 16, 30)) * at for start in starts for at in range(5)
    ]
    served = []
    for tick in sorted(ticks):
        node = rng.choice(NODES)
        steps = [rng.choice(("grow", "grow", "rest", "fall")) for _ in SERIES]
        if rng.random() < 0.2:
            steps = ["fall"] * len(SERIES)
        totals: dict[tuple[str, str], tuple[int, int]] = {}
        for series, step in zip(SERIES, steps, strict=True):
            if rng.random() < 0.3:
                continue
            up, down = counters[node, series]
            if step == "grow":
                up, down = up + rng.randrange(40), down + rng.randrange(40)
            if step == "fall":
                up, down = min(up, rng.randrange(40)), min(down, rng.randrange(40))
            counters[node, series] = totals[series] = (up, down)
        instant_ns = HOUR.previous.start_ns + tick * 10 * NS_PER_SECOND
        served.append(Served(instant_ns, node, totals, rng.choice((0, 0, 0, 1))))
    now_ns = HOUR.end_ns + rng.choice((-1, 0, 10 * 60, 10 * 60)) * NS_PER_SECOND
    return World(policy, served, now_ns)


@dataclass
class Computed:
    """The hour as the pure rooms see it."""

    world: World
    samples: HourSamples
    firsts: FirstSamples
    judged: FirstDeltas
    deltas: HourDeltas
    moved: list[MinuteFacts]
    snapshot_prev_ns: Int64Array

    @classmethod
    def of(cls, world: World, block_samples: int = 100) -> "Computed":
        collector = SampleCollector(block_samples)
        for each in world.within(HOUR.start_ns, HOUR.end_ns):
            collector.add(each.as_record())
        samples = collector.finish()
        earlier = world.within(HOUR.previous.start_ns, HOUR.start_ns)
        before = _last_readings(earlier)
        node_before = {each.node: each.instant_ns for each in earlier}
        nonempty = {node: cls._first_nonempty(world, node) for node in NODES}

        names = [samples.nodes[node].node_id for node in samples.snapshot_node.tolist()]
        previous = [
            samples.snapshot_ns[at - 1]
            if at and names[at - 1] == name
            else node_before.get(name, 0)
            for at, name in enumerate(names)
        ]
        snapshot_prev_ns = np.array(previous, dtype=np.int64)
        first = samples.first
        keys = [samples.series_keys[series] for series in first.series.tolist()]
        stood = np.array([before.get(key, (0, 0, 0)) for key in keys], dtype=np.int64)
        stood = stood.reshape(-1, 3)
        first_ns = first.instant_ns
        firsts = FirstSamples(
            first_ns=first_ns,
            first_uplink=first.uplink,
            first_downlink=first.downlink,
            prev_ns=stood[:, 0],
            prev_uplink=stood[:, 1],
            prev_downlink=stood[:, 2],
            node_prev_ns=snapshot_prev_ns[first.snapshot],
            appeared=np.array([nonempty[key.node_id] for key in keys], dtype=np.int64) < first_ns,
        )
        judged = judge_first_deltas(firsts, world.policy)
        deltas = HourDeltas(samples, judged, snapshot_prev_ns, world.policy)
        moved = [deltas.facts_of(block) for block in samples.blocks()]
        return cls(world, samples, firsts, judged, deltas, moved, snapshot_prev_ns)

    @staticmethod
    def _first_nonempty(world: World, node: str) -> int:
        return min(
            (s.instant_ns for s in world.served if s.node == node and (s.totals or s.bad)),
            default=HOUR.end_ns,
        )

    @property
    def names(self) -> list[terms.Series]:
        return [terms.Series(SOURCE, *key) for key in self.samples.series_keys]

    def facts(self) -> dict[tuple[terms.Series, int], terms.Fact]:
        return {
            (self.names[series], minute): terms.Fact(*rest)
            for of_block in self.moved
            for series, minute, *rest in zip(
                of_block.series.tolist(),
                of_block.minute.tolist(),
                of_block.uplink.tolist(),
                of_block.downlink.tolist(),
                of_block.spans_minutes.tolist(),
                of_block.is_reset.tolist(),
                strict=True,
            )
        }

    def history(self) -> tuple[list[Any], list[Any], list[Any]]:
        """Resets, gaps and findings; a series' or a node's key is its position and one."""
        samples = self.samples
        inner = InnerHistory.of_samples(
            samples,
            np.arange(len(samples.series_keys)) + 1,
            np.arange(len(samples.nodes)) + 1,
            self.deltas,
            self.snapshot_prev_ns,
            {},
        )
        series_id, snapshot = samples.first.series + 1, samples.first.snapshot
        node_key = samples.series_node[samples.first.series] + 1
        resets = inner.resets.and_also(first_resets(series_id, snapshot, self.firsts, self.judged))
        is_restart = reset_classes(resets, inner.snapshots, snapshot, self.judged)
        gaps = [
            *node_gaps(inner.snapshots, snapshot, self.judged, self.world.policy.gap_ns),
            *first_gaps(series_id, node_key, self.firsts, self.judged),
            *inner.gaps,
        ]
        findings = [
            *inner.findings,
            *first_findings(series_id, self.firsts, self.judged),
            *reset_findings(resets, is_restart),
        ]
        return (
            sorted(
                (
                    self.names[series - 1],
                    instant_ns,
                    "node_restart" if restart else "single_series",
                    up,
                    down,
                )
                for series, instant_ns, restart, up, down in zip(
                    resets.series_id.tolist(),
                    resets.instant_ns.tolist(),
                    is_restart.tolist(),
                    resets.uplink_before.tolist(),
                    resets.downlink_before.tolist(),
                    strict=True,
                )
            ),
            sorted(
                (
                    self.names[gap.series_id - 1]
                    if gap.series_id
                    else terms.Node(SOURCE, *samples.nodes[gap.node_key - 1]),
                    gap.from_ns,
                    gap.until_ns,
                    gap.quantity,
                )
                for gap in gaps
            ),
            sorted(
                (each.kind, self.names[each.series_id - 1], each.instant_ns) for each in findings
            ),
        )

    def state(self) -> str:
        """C12, from what is served."""
        world = self.world
        nodes = []
        for node in {s.node for s in world.within(0, HOUR.end_ns)}:
            instants = [s.instant_ns for s in world.served if s.node == node]
            inside = [ns for ns in instants if HOUR.start_ns <= ns < HOUR.end_ns]
            later = any(ns >= HOUR.end_ns for ns in instants)
            nodes.append(NodeCoverage(np.array(inside, dtype=np.int64), later))
        return cover_hour(
            nodes,
            HOUR,
            world.policy.interval_seconds,
            has_ended=world.now_ns >= HOUR.end_ns,
            oldest_served_ns=min((s.instant_ns for s in world.served), default=None),
            served_later=any(s.instant_ns >= HOUR.end_ns for s in world.served),
        ).state


def _last_readings(served: list[Served]) -> dict[SeriesKey, tuple[int, int, int]]:
    """Instant, up and down of the last sample of each series; at one instant the larger (C3)."""
    last: dict[SeriesKey, tuple[int, int, int]] = {}
    for each in served:
        for (account, tag), (up, down) in each.totals.items():
            key = SeriesKey("prod", each.node, account, tag)
            old = last.get(key)
            if old and old[0] == each.instant_ns:
                up, down = max(up, old[1]), max(down, old[2])
            last[key] = (each.instant_ns, up, down)
    return last


def audited(world: World) -> terms.SourceHour:
    """The same hour by the oracle, which sees the whole history at once."""
    source = {
        "source_id": SOURCE,
        "interval_seconds": world.policy.interval_seconds,
        "first_sight": world.policy.first_sight,
        "max_bits_per_second": world.policy.max_bits_per_second,
    }
    result = oracle.audit(
        [source],
        {SOURCE: [each.as_json() for each in world.served]},
        {SOURCE: {HOUR.previous.index, HOUR.index}},
        BOOK,
        world.now_ns,
    )
    return result.hours[SOURCE, HOUR.index]


@pytest.mark.parametrize("block_samples", [100, 4, 1])
@pytest.mark.parametrize("seeds", SEEDS, ids=str)
def test_facts_resets_gaps_findings_and_state_are_those_of_the_oracle(
    seeds: range, block_samples: int
) -> None:
    for seed in seeds:
        world = random_world(seed)
        computed, expected = Computed.of(world, block_samples), audited(world)
        resets, gaps, findings = computed.history()

        assert computed.facts() == expected.facts, seed
        assert resets == sorted(
            (r.series, r.instant_ns, r.reset_class, r.before.up, r.before.down)
            for r in expected.resets
        ), seed
        assert gaps == sorted((g.subject, g.from_ns, g.to_ns, g.bytes) for g in expected.gaps), seed
        assert findings == sorted(
            (f.kind, f.subject, f.instant_ns) for f in expected.findings if f.kind != "clock_ahead"
        ), seed
        assert computed.state() == expected.coverage.state, seed


@pytest.mark.parametrize("seeds", SEEDS, ids=str)
def test_every_fetched_sample_is_accounted_for(seeds: range) -> None:
    """Invariant 4: fetched = used + duplicate + baseline + quarantined."""
    for seed in seeds:
        world = random_world(seed)
        computed, expected = Computed.of(world), audited(world).coverage
        samples = computed.samples
        baselines = int(computed.judged.is_baseline.sum())

        assert samples.served_samples == expected.fetched, seed
        assert samples.duplicates == expected.duplicates, seed
        assert len(samples.bad_samples) == expected.quarantined, seed
        assert baselines == expected.baselines, seed
        assert samples.used_samples - baselines == expected.used, seed


def test_the_worlds_hold_every_kind_of_thing() -> None:
    """Comparing proves nothing where there is nothing to compare."""
    hours = [audited(random_world(seed)) for seeds in SEEDS for seed in seeds]

    assert {reset.reset_class for hour in hours for reset in hour.resets} == {
        "node_restart", "single_series",
    }  # fmt: skip
    assert {gap.kind for hour in hours for gap in hour.gaps} == {"exporter_down", "series_absent"}
    assert {finding.kind for hour in hours for finding in hour.findings} >= {
        "conflicting_samples", "implausible_birth", "rate_exceeded", "single_series_reset",
    }  # fmt: skip
    assert {hour.coverage.state for hour in hours} == {"complete", "partial", "lost"}
    kinds = {closing.first_kind for hour in hours for closing in hour.closings.values()}
    assert kinds == {"delta", "reset", "born", "baseline"}
