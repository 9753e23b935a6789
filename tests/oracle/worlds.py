"""Seeded random worlds: small served histories that hold every quirk at once.

``random_world(seed)`` gives the oracle's whole input, as plain settings and as snapshots in the
form in which exporters serve them. The same seed gives the same world on every machine.
"""

import calendar
import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

SECOND_NS = 10**9
HOUR_NS = 3600 * SECOND_NS
TAGS = ("tcp", "xhttp-premium", "", "ümläut tag")
OFFSETS = ("Z", "Z", "Z", "+00:00", "+08:00", "-03:30")
BAD_KINDS = (
    "uuid_malformed",
    "total_negative",
    "total_not_integer",
    "total_too_large",
    "field_missing",
    "tag_too_long",
    "tag_not_text",
)
# First hour of history, billing anchor day: a plain day, a month edge, a period edge, a leap day.
STARTS = (
    ("2026-04-08T10", 1),
    ("2026-03-31T21", 1),
    ("2026-04-14T22", 15),
    ("2028-02-28T22", 29),
)
INTERVALS_SECONDS = (30, 60, 120, 300, 300, 600)


@dataclass
class World:
    """One random input of the oracle; ``audit(**world.inputs)`` computes what must come out."""

    seed: int
    sources: list[dict[str, Any]]
    snapshots: dict[str, list[dict[str, Any]]]
    collected_hours: dict[str, set[int]]
    book: dict[str, Any]
    served_now_ns: int

    @property
    def inputs(self) -> dict[str, Any]:
        return {
            "sources": self.sources,
            "snapshots": self.snapshots,
            "collected_hours": self.collected_hours,
            "book": self.book,
            "served_now_ns": self.served_now_ns,
        }


@dataclass
class Counters:
    """One account on one inbound of one node, as the node's process counts it."""

    account: str
    tag: str
    up: int
    down: int
    email: str | None
    idle_share: float
    born_at: int
    hidden: set[int] = field(default_factory=set)  # ticks at which the node does not list it

    def sample(self, rng: random.Random) -> dict[str, Any]:
        sample: dict[str, Any] = {
            "uuid": self.account.upper() if rng.random() < 0.05 else self.account,
            "inbound_tag": self.tag,
            "uplink_bytes_total": self.up,
            "downlink_bytes_total": self.down,
        }
        if self.email is not None:
            sample["email"] = self.email
        return sample


def random_world(
    seed: int,
    hours: int | None = None,
    *,
    starts: Sequence[tuple[str, int]] = STARTS,
    intervals_seconds: Sequence[int] = INTERVALS_SECONDS,
) -> World:
    """A world of at most three sources and six accounts over three or four hours.

    One more hour of history is served before the hours that are collected, for the look-back.
    """
    rng = random.Random(seed)
    start_text, anchor_day = rng.choice(starts)
    first_hour = calendar.timegm(datetime.fromisoformat(start_text + ":00").timetuple()) // 3600
    collect = range(first_hour + 1, first_hour + 1 + (hours or rng.choice((3, 3, 4))))
    accounts = [random_uuid(rng) for _ in range(rng.randint(2, 6))]
    late_ns = rng.choice((2 * HOUR_NS, 2 * HOUR_NS, 5 * SECOND_NS, -20 * 60 * SECOND_NS))
    world = World(seed, [], {}, {}, {}, collect.stop * HOUR_NS + late_ns)
    for index in range(rng.randint(1, 3)):
        source = random_source(rng, index, intervals_seconds)
        world.sources.append(source)
        served: list[dict[str, Any]] = []
        for node in random_nodes(rng, index):
            served += random_node_history(
                rng, source, node, accounts, first_hour * HOUR_NS, collect.stop * HOUR_NS
            )
        served = [snapshot for snapshot in served if rng.random() > 0.01]
        if rng.random() < 0.15:  # the exporter has already forgotten the beginning
            forgotten_ns = first_hour * HOUR_NS + rng.randrange(2 * HOUR_NS)
            served = [snapshot for snapshot in served if snapshot["_ns"] >= forgotten_ns]
        if rng.random() < 0.05:
            served = []
        # What has not happened yet is not served, but for a node whose clock is ahead.
        ahead_ns = rng.choice((0, 0, 7 * 60 * SECOND_NS))
        latest_ns = world.served_now_ns + ahead_ns
        served = [snapshot for snapshot in served if snapshot["_ns"] <= latest_ns]
        # Exporters serve by time; snapshots of one instant come in any order.
        rng.shuffle(served)
        served.sort(key=lambda snapshot: int(snapshot["_ns"]))
        for snapshot in served:
            del snapshot["_ns"]
        world.snapshots[source["source_id"]] = served
        world.collected_hours[source["source_id"]] = random_collected_hours(rng, collect)
    world.book = random_book(rng, world.sources, accounts, collect, anchor_day)
    return world


def random_uuid(rng: random.Random) -> str:
    digits = f"{rng.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def random_source(
    rng: random.Random, index: int, intervals_seconds: Sequence[int]
) -> dict[str, Any]:
    source: dict[str, Any] = {
        "source_id": f"source-{'cab'[index]}",
        "interval_seconds": rng.choice(intervals_seconds),
        "first_sight": rng.choice(("auto", "auto", "auto", "auto", "charge", "baseline")),
        "lookback_minutes": rng.choice((10, 10, 10, 3, 25)),
        "max_bits_per_second": rng.choice((1_000_000_000, 1_000_000_000, 20_000_000)),
        "region": rng.choice(("jp", "eu", "us")),
    }
    return source


def random_nodes(rng: random.Random, index: int) -> list[tuple[str, str]]:
    """(env, node) pairs; a node name may come back under another env, or at another source."""
    pairs = [
        (f"prod-{index}", "node-1"),
        (f"prod-{index}", f"node-{index + 2}"),
        (f"dev-{index}", "node-1"),
    ]
    return pairs[: rng.choice((1, 1, 2, 3))]


def random_collected_hours(rng: random.Random, collect: range) -> set[int]:
    """Mostly all, sometimes with a hole, or beginning later."""
    chosen = set(collect)
    if rng.random() < 0.3:
        chosen.discard(rng.choice(collect))
    return chosen


def random_node_history(
    rng: random.Random,
    source: dict[str, Any],
    node: tuple[str, str],
    accounts: list[str],
    from_ns: int,
    to_ns: int,
) -> list[dict[str, Any]]:
    """Every snapshot that one node takes, with ``_ns`` for ordering."""
    interval_ns = source["interval_seconds"] * SECOND_NS
    ticks = (to_ns - from_ns) // interval_ns
    rows = random_counters(rng, accounts, ticks)
    outages = set(random_runs(rng, ticks, rng.choice((0, 1, 1, 2)), 1, 3 + ticks // 6))
    empties = set(random_runs(rng, ticks, rng.choice((0, 0, 1, 2)), 1, 3))
    restarts = {rng.randrange(ticks) for _ in range(rng.choice((0, 1, 1, 2)))}
    whole_seconds = rng.random() < 0.3  # two such nodes of one source have equal instants
    appears_at = rng.choice((0, 0, 0, rng.randrange(ticks)))
    dies_at = rng.choice((ticks, ticks, ticks, rng.randrange(ticks) + 1))
    history: list[dict[str, Any]] = []

    for tick in range(ticks):
        grow(rng, rows, tick, restarted=tick in restarts)
        if tick in outages or not appears_at <= tick < dies_at:
            continue
        for at_ns in random_instants(rng, from_ns + tick * interval_ns, interval_ns, whole_seconds):
            samples: list[Any] | None = [
                row.sample(rng) for row in rows if tick >= row.born_at and tick not in row.hidden
            ]
            if tick in empties:
                samples = rng.choice((None, []))
            if samples and rng.random() < 0.06:
                spoil(rng, rng.choice(samples))
                is_clean = False
            else:
                is_clean = bool(samples)
            history.append(make_snapshot(rng, node, at_ns, samples))
            # A second copy only of clean ones: the spec does not say how often a bad sample that
            # is served twice counts.
            if is_clean and samples and rng.random() < 0.04:
                history.append(make_snapshot(rng, node, at_ns, copy.deepcopy(samples)))
            if is_clean and samples and rng.random() < 0.04:
                history.append(make_snapshot(rng, node, at_ns, conflicting_copy(rng, samples)))
            if at_ns % interval_ns and rng.random() < 0.5:
                grow(rng, rows, tick, restarted=False)
    return history


def random_counters(rng: random.Random, accounts: list[str], ticks: int) -> list[Counters]:
    rows = []
    for account in accounts:
        if rng.random() < 0.2:
            continue  # not every account is on every node
        for tag in rng.sample(TAGS, rng.choice((1, 1, 2))):
            lifetime = rng.choice((0, 10**4, 10**10, 10**13))
            born_at = 0
            if rng.random() < 0.35:  # born while the node runs: mostly from nothing
                born_at = rng.randrange(ticks)
                lifetime = rng.choice((0, 10**4, 10**6, 10**11))
            row = Counters(
                account,
                tag,
                rng.randint(0, lifetime),
                rng.randint(0, lifetime),
                rng.choice((None, "unknown", "someone@example.test")),
                rng.choice((0.1, 0.4, 0.9, 1.0)),
                born_at,
            )
            row.hidden = set(random_runs(rng, ticks, rng.choice((0, 0, 1, 2)), 1, 2 + ticks // 4))
            rows.append(row)
    if rows and rng.random() < 0.1:
        rows[0].up += 2**59  # beyond what a float, or a rate in 64-bit nanoseconds, can hold
    return rows


def random_runs(
    rng: random.Random, ticks: int, runs: int, shortest: int, longest: int
) -> Iterator[int]:
    for _ in range(runs):
        begin = rng.randrange(ticks)
        yield from range(begin, min(ticks, begin + rng.randint(shortest, longest)))


def random_instants(
    rng: random.Random, tick_ns: int, interval_ns: int, whole_seconds: bool
) -> list[int]:
    """Usually one instant per interval, sometimes several within a minute, at times none."""
    if whole_seconds:
        first_ns = tick_ns + 3 * SECOND_NS
    else:
        digits = rng.choice((0, 1, 9, 9))
        grain_ns = 10 ** (9 - digits)
        first_ns = tick_ns + rng.randrange(interval_ns // 4) // grain_ns * grain_ns
    edge = rng.random()
    if edge < 0.02:
        first_ns = tick_ns  # exactly on the minute, or on the hour
    elif edge < 0.04:
        first_ns = tick_ns + interval_ns - 1  # the last nanosecond before the next
    instants = [first_ns]
    if rng.random() < 0.08:
        for _ in range(rng.randint(1, 3)):
            instants.append(instants[-1] + rng.choice((1, SECOND_NS // 10, 7 * SECOND_NS)))
    return [at_ns for at_ns in instants if at_ns < tick_ns + interval_ns]


def grow(rng: random.Random, rows: list[Counters], tick: int, restarted: bool) -> None:
    """Lets the counters run for one interval; the exporter sees them only where it looks."""
    # After a restart of the whole process, now and then only some have fallen when it is seen.
    share_fallen = rng.choice((1.0, 1.0, 0.5)) if restarted else 0.0
    for row in rows:
        if tick < row.born_at:
            continue
        if rng.random() < share_fallen or rng.random() < 0.004:
            row.up, row.down = rng.choice(((0, 0), (rng.randrange(5000), rng.randrange(50000))))
        elif rng.random() >= row.idle_share:
            most = rng.choice((100, 10**5, 10**7, 10**7, 10**9))
            row.up += rng.randint(0, most // 4)
            row.down += rng.randint(0, most)
            if rng.random() < 0.01:
                row.down += 10**12  # faster than any line


def spoil(rng: random.Random, sample: dict[str, Any]) -> None:
    """Breaks one sample in exactly one way (C11)."""
    kind = rng.choice(BAD_KINDS)
    total = rng.choice(("uplink_bytes_total", "downlink_bytes_total"))
    if kind == "uuid_malformed":
        sample["uuid"] = rng.choice(
            ("", "nobody", sample["uuid"].replace("-", ""), "{" + sample["uuid"] + "}")
        )
    elif kind == "total_negative":
        sample[total] = -1 - sample[total]
    elif kind == "total_not_integer":
        sample[total] = rng.choice((1.5, "12", True))
    elif kind == "total_too_large":
        sample["uplink_bytes_total"], sample["downlink_bytes_total"] = 2**62, 2**62
    elif kind == "field_missing":
        del sample[rng.choice(("uuid", "inbound_tag", total))]
    elif kind == "tag_too_long":
        sample["inbound_tag"] = rng.choice(("x" * 256, "ü" * 128))
    else:
        sample["inbound_tag"] = rng.choice(("t\0cp", 7))


def conflicting_copy(rng: random.Random, samples: list[Any]) -> list[Any]:
    """A part of the same samples, some with other totals, for the same instant."""
    part: list[Any] = copy.deepcopy(rng.sample(samples, rng.randint(1, len(samples))))
    for sample in part:
        for total in ("uplink_bytes_total", "downlink_bytes_total"):
            if rng.random() < 0.4:
                sample[total] = max(0, sample[total] + rng.randint(-500, 500))
    return part


def make_snapshot(
    rng: random.Random, node: tuple[str, str], at_ns: int, samples: list[Any] | None
) -> dict[str, Any]:
    env, node_id = node
    return {
        "collected_at": instant_text(at_ns, rng.choice(OFFSETS)),
        "node_id": node_id,
        "env": env,
        "samples": samples,
        "_ns": at_ns,
    }


def instant_text(at_ns: int, offset: str = "Z") -> str:
    """RFC 3339 at an offset, with the fewest fractional digits of 0, 1 and 9 that are exact."""
    seconds, fraction_ns = divmod(at_ns, SECOND_NS)
    shift = timedelta()
    if offset != "Z":
        shift = timedelta(hours=int(offset[1:3]), minutes=int(offset[4:6]))
        shift = -shift if offset[0] == "-" else shift
    clock = datetime.fromtimestamp(seconds, UTC) + shift
    digits = "" if not fraction_ns else f".{fraction_ns:09d}"
    if fraction_ns and fraction_ns % 10**8 == 0:
        digits = digits[:2]
    return f"{clock:%Y-%m-%dT%H:%M:%S}{digits}{offset}"


def random_book(
    rng: random.Random,
    sources: list[dict[str, Any]],
    accounts: list[str],
    collect: range,
    anchor_day: int,
) -> dict[str, Any]:
    """A default price from ever on; changes, plans, own prices and regions within the hours."""

    def some_minute() -> int:
        return rng.randrange(collect.start * 60, collect.stop * 60)

    def long_ago() -> int:
        return rng.choice((0, collect.start * 60 - rng.randrange(40 * 24 * 60)))

    versions = [random_version(rng, "default", None, 0)]
    versions += [
        random_version(rng, "default", None, some_minute()) for _ in range(rng.choice((0, 1, 2)))
    ]
    for plan in ("gold", "silver"):
        versions += [
            random_version(rng, "plan", plan, from_minute)
            for from_minute in {long_ago(), some_minute()}
            if rng.random() < 0.6
        ]
    for account in accounts:
        if rng.random() < 0.2:
            versions.append(random_version(rng, "account", account, rng.choice((0, some_minute()))))
    rng.shuffle(versions)
    # A version is one of its scope, key and minute (R2: published versions are immutable).
    unique = {(v["scope"], v["key"], v["from_minute"]): v for v in versions}
    members = {}
    for account in accounts:
        for from_minute in {long_ago(), some_minute()}:
            if rng.random() < 0.5:
                plan_or_none = rng.choice(("gold", "silver", "unpriced", None))
                members[account, from_minute] = plan_or_none
    regions = [
        {
            "source_id": s["source_id"],
            "region": rng.choice(("jp", "eu")),
            "from_minute": some_minute(),
        }
        for s in sources
        if rng.random() < 0.3
    ]
    return {
        "versions": list(unique.values()),
        "plan_members": [
            {"account": account, "plan": plan_or_none, "from_minute": from_minute}
            for (account, from_minute), plan_or_none in members.items()
        ],
        "source_regions": regions,
        "quota": random_quota(rng),
        "opening_balance": rng.choice(("0", "100.50", "-3.000000001")),
        "credits": [
            {"account": account, "amount": rng.choice(("1", "0.000001", "25.75"))}
            for account in accounts
            for _ in range(rng.choice((0, 0, 1, 2)))
        ],
        "anchor_day": anchor_day,
    }


def random_version(
    rng: random.Random, scope: str, key: str | None, from_minute: int
) -> dict[str, Any]:
    return {
        "scope": scope,
        "key": key,
        "from_minute": from_minute,
        "price_per_byte": rng.choice(("0", "2", "0.1", "0.00000000012345", "0.000000333")),
        "region_multipliers": {
            r: rng.choice(("1.25", "0.5")) for r in ("jp", "eu") if rng.random() < 0.5
        },
        "line_multipliers": {
            t: rng.choice(("3", "0", "0.333")) for t in TAGS if rng.random() < 0.3
        },
        "peak_time_zone": rng.choice(("UTC", "Asia/Tokyo", "Asia/Kolkata", "America/New_York")),
        "peak_hours": sorted(rng.sample(range(24), rng.choice((0, 6, 12)))),
        "peak_multiplier": rng.choice(("1", "1.5")),
        "offpeak_multiplier": rng.choice(("1", "0.75")),
        "included_quota_bytes": rng.choice((None, random_quota(rng))),
    }


def random_quota(rng: random.Random) -> int:
    return rng.choice((0, 100, 10**6, 10**8, 10**10, 10**15))
