"""Any facts under any price book, rated by the pure room and by the oracle (R2, R3).

The carry of an account is summed up here; the database does that in the pipeline.
"""

import itertools
import random
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property

import numpy as np
import pytest
from oracle import money, terms

from billing_etl.hours import Hour, parse_hour
from billing_etl.rating import PriceBook, PriceVersion, Scope, period_of, split_quota

# Three hours around a month's end; with the anchor day 2 they lie within one period.
START = parse_hour("2026-03-31T22")
ACCOUNTS = [f"3f2b0a1c-0000-4000-8000-00000000000{letter}" for letter in "ab"]
TAGS = ("tcp", "udp")
SOURCE_IDS = ["jp-1", "us-1"]
SOURCES: list[terms.Settings] = [{"source_id": each, "region": "jp"} for each in SOURCE_IDS]
MULTIPLIERS = (Decimal(1), Decimal("1.5"), Decimal("0.3"))
SEEDS = [range(at, at + 50) for at in range(0, 200, 50)]
KEYS: list[tuple[Scope, str]] = [
    ("default", ""),
    ("plan", "gold"),
    ("plan", "tin"),
    ("account", ACCOUNTS[0]),
]


@dataclass
class World:
    versions: list[PriceVersion]
    members: list[tuple[str, int, str]]
    regions: list[tuple[str, int, str]]
    facts: dict[tuple[terms.Series, int], terms.Fact]
    anchor_day: int

    @cached_property
    def book(self) -> PriceBook:
        return PriceBook(self.versions, self.members, self.regions, "jp")


def random_world(seed: int) -> World:
    """A default price since ever, and whatever else is in force within three hours."""
    rng = random.Random(seed)

    def since() -> int:
        return rng.choice((0, START.first_minute + rng.randrange(180)))

    def multipliers(names: tuple[str, ...]) -> dict[str, Decimal]:
        return {name: rng.choice(MULTIPLIERS) for name in names if rng.random() < 0.5}

    scopes = [key for key in KEYS for _ in range(2) if rng.random() < 0.6]
    places = dict.fromkeys([("default", "", 0), *((*key, since()) for key in scopes)])
    versions = [
        PriceVersion(
            number,
            f"v{number}",
            scope,
            key,
            minute,
            Decimal(number),
            rng.choice((None, 0, rng.randrange(200))),
            multipliers(("jp", "us", "*")),
            multipliers((*TAGS, "*")),
            rng.choice(MULTIPLIERS),
            rng.choice(MULTIPLIERS),
            rng.choice(("UTC", "Asia/Kolkata", "Europe/Berlin")),
            tuple(hour for hour in (0, 2, 3, 4, 23) if rng.random() < 0.3),
        )
        for number, (scope, key, minute) in enumerate(places, start=1)
    ]
    plans = {(a, since()): rng.choice(("gold", "tin", "")) for a in ACCOUNTS * rng.randrange(3)}
    regions = {(s, since()): rng.choice(("jp", "us")) for s in SOURCE_IDS * rng.randrange(3)}
    facts = {}
    for _ in range(rng.randrange(12)):
        names = (("dev", "prod"), ("node-1", "node-2"), ACCOUNTS, TAGS)
        series = terms.Series(rng.choice(SOURCE_IDS), *(rng.choice(each) for each in names))
        minute = START.first_minute + rng.choice((rng.randrange(180), 119))
        facts[series, minute] = terms.Fact(rng.randrange(60), rng.randrange(60), 1, False)
    return World(
        versions,
        [(account, minute, plan) for (account, minute), plan in plans.items()],
        [(source, minute, region) for (source, minute), region in regions.items()],
        facts,
        rng.choice((1, 2)),
    )


def _consumption_order(key: tuple[terms.Series, int]) -> tuple[object, ...]:
    series, minute = key
    return (minute, series.node_id, series.inbound_tag, series.env, series.source_id)


def rated(world: World) -> dict[tuple[terms.Series, int], tuple[int, int, Fraction]]:
    """Included and rated bytes and the amount of every fact, hour by hour with a carry."""
    found = {}
    used: dict[tuple[str, Hour], int] = defaultdict(int)
    by_hour: dict[tuple[int, str], list[tuple[terms.Series, int]]] = defaultdict(list)
    for series, minute in sorted(world.facts, key=_consumption_order):
        by_hour[minute // 60, series.account].append((series, minute))
    for (hour, account), keys in sorted(by_hour.items()):
        period = period_of(Hour(hour), world.anchor_day)
        quantity = [world.facts[key].up + world.facts[key].down for key in keys]
        columns = [
            [0] * len(keys),
            quantity,
            [used[account, period]] * len(keys),
            [world.book.quota(account, period)] * len(keys),
        ]
        included = split_quota(*(np.array(column, dtype=np.int64) for column in columns))
        used[account, period] += sum(quantity)
        for (series, minute), total, free in zip(keys, quantity, included.tolist(), strict=True):
            rate = world.book.rate(account, series.source_id, series.inbound_tag, minute)
            amount = Fraction(total - free)
            for factor in rate[1:]:
                amount *= Fraction(factor)
            found[series, minute] = (free, total - free, amount)
    return found


def audited(world: World) -> terms.Bill:
    return money.rate(
        {
            "anchor_day": world.anchor_day,
            "versions": [
                {
                    "scope": version.scope,
                    "key": version.scope_key or None,
                    "from_minute": version.from_minute,
                    "price_per_byte": version.price_per_unit,
                    "included_quota_bytes": version.included_quota,
                    "region_multipliers": version.region_multipliers,
                    "line_multipliers": version.line_multipliers,
                    "peak_multiplier": version.peak_multiplier,
                    "offpeak_multiplier": version.offpeak_multiplier,
                    "peak_time_zone": version.peak_time_zone,
                    "peak_hours": version.peak_hours,
                }
                for version in world.versions
            ],
            "plan_members": [
                {"account": account, "from_minute": minute, "plan": plan or None}
                for account, minute, plan in world.members
            ],
            "source_regions": [
                {"source_id": source_id, "from_minute": minute, "region": region}
                for source_id, minute, region in world.regions
            ],
            "credits": [],
        },
        SOURCES,
        world.facts,
    )


@pytest.mark.parametrize("seeds", SEEDS, ids=str)
def test_quota_split_and_amounts_are_those_of_the_oracle(seeds: range) -> None:
    for seed in seeds:
        world = random_world(seed)
        expected = audited(world).ratings

        assert rated(world) == {
            key: (rating.included, rating.rated, rating.amount) for key, rating in expected.items()
        }, seed


@pytest.mark.parametrize("seeds", SEEDS, ids=str)
def test_an_hour_that_is_rated_at_once_has_one_rate_per_source_and_inbound(seeds: range) -> None:
    for seed in seeds:
        book = random_world(seed).book
        for index, account in itertools.product(range(3), ACCOUNTS):
            hour = Hour(START.index + index)
            if not book.changes_within(account, "jp-1", hour):
                minutes = range(hour.first_minute, hour.first_minute + 60)
                rates = {book.rate(account, "jp-1", "tcp", minute) for minute in minutes}
                assert len(rates) == 1, seed
