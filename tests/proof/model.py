"""What a growing world has served so far, and what each hour was last collected with.

The model holds no arithmetic of its own: deltas and money are the oracle's. It only keeps account
of which snapshots the database must have seen, by C4 (look-back) and C13 (history never shrinks).
"""

import copy
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from oracle.oracle import audit
from oracle.reading import judge_sample, read_instant
from oracle.terms import HOUR_NS, MINUTE_NS, Result
from oracle.terms import Node as OracleNode
from oracle.worlds import World, instant_text, random_world

JSON: TypeAlias = dict[str, Any]
Outcome: TypeAlias = Literal["collected", "history_shrunk"]

# A plain day, a month edge, a period edge at an anchor day, a leap day, a year end, two days on
# which clocks change; the first is the simplest.
STARTS = (
    ("2026-04-08T10", 1),
    ("2026-03-31T21", 1),
    ("2026-04-14T22", 15),
    ("2024-02-28T22", 28),
    ("2024-02-29T22", 1),
    ("2025-12-31T21", 1),
    ("2026-03-28T23", 1),
    ("2025-11-02T04", 2),
)


# So small that most answers take several.
PAGE_SIZE = 7


class Node(NamedTuple):
    env: str
    node_id: str


class Snapshot(NamedTuple):
    at_ns: int
    node: Node
    body: JSON  # as served

    @property
    def key(self) -> tuple[Node, int]:
        return self.node, self.at_ns

    @property
    def hour(self) -> int:
        return self.at_ns // HOUR_NS

    @classmethod
    def read(cls, body: JSON) -> "Snapshot":
        return cls(read_instant(body["collected_at"]), Node(body["env"], body["node_id"]), body)


@dataclass
class SourceModel:
    """One exporter: what its nodes have measured, what it serves, what was collected of it."""

    settings: JSON
    flavour: Literal["nanosecond", "minute"]
    to_come: list[Snapshot]
    held_back: list[Snapshot] = field(default_factory=list)
    kept: list[Snapshot] = field(default_factory=list)  # measured, arrived, not yet forgotten
    stored: dict[int, list[Snapshot]] = field(default_factory=dict)
    looked_back: list[Snapshot] = field(default_factory=list)
    # Hours whose last collection held all that is stored: their state was judged by it.
    accepted: set[int] = field(default_factory=set)
    is_broken: bool = False
    times_forgotten: int = 0

    @property
    def source_id(self) -> str:
        return str(self.settings["source_id"])

    # --- what is served ------------------------------------------------------------------------

    def served(self) -> list[Snapshot]:
        """In time order; a minute exporter serves the last reading of each minute, at its start."""
        if self.flavour == "nanosecond":
            return sorted(self.kept, key=lambda snapshot: snapshot.at_ns)
        latest: dict[tuple[Node, int], Snapshot] = {}
        for snapshot in sorted(self.kept, key=lambda each: each.at_ns):
            minute_ns = snapshot.at_ns // MINUTE_NS * MINUTE_NS
            body = snapshot.body | {"collected_at": instant_text(minute_ns)}
            latest[snapshot.node, minute_ns] = Snapshot(minute_ns, snapshot.node, body)
        return sorted(latest.values(), key=lambda snapshot: snapshot.at_ns)

    def seen_for(self, hour: int | None) -> list[Snapshot]:
        """What a collection of the hour looks at: of what comes after the next hour, one page."""
        served = self.served()
        if hour is None:
            return served
        near = [each for each in served if each.hour < hour + 2]
        return near + served[len(near) :][:PAGE_SIZE]

    def pass_time(self, now_ns: int, rng: random.Random) -> int:
        """Serves what was measured until now, but for what the exporter learns of only later."""
        arrived = [each for each in self.to_come if each.at_ns <= now_ns]
        self.to_come = [each for each in self.to_come if each.at_ns > now_ns]
        share_late = rng.choice((0, 0, 0.1, 0.5))
        for snapshot in arrived:
            (self.held_back if rng.random() < share_late else self.kept).append(snapshot)
        return len(arrived)

    def let_late_ones_arrive(self, share: float, rng: random.Random) -> int:
        late = [each for each in self.held_back if rng.random() < share]
        self.kept += late
        self.held_back = [each for each in self.held_back if not any(each is one for one in late)]
        return len(late)

    def forget_oldest(self, elapsed_ns: int) -> int:
        """What has not arrived by then never will: exporters keep all nodes equally long."""
        before = len(self.kept)
        if not before:
            return 0
        before_ns = min(each.at_ns for each in self.kept) + elapsed_ns
        self.times_forgotten += 1
        self.kept = [each for each in self.kept if each.at_ns >= before_ns]
        self.held_back = [each for each in self.held_back if each.at_ns >= before_ns]
        return before - len(self.kept)

    def change_content(self, rng: random.Random) -> bool:
        """Another reading of an instant that was served before: the mutable last minute."""
        found = [each for each in self.kept if each.body["samples"]]
        if not found:
            return False
        snapshot = rng.choice(found[-5:])
        sample = rng.choice(snapshot.body["samples"])
        if judge_sample(self._node(snapshot), sample)[0] is not None:
            return False
        for name in ("uplink_bytes_total", "downlink_bytes_total"):
            sample[name] = max(0, sample[name] + rng.choice((-1000, 1, 777, 10**6)))
        return True

    def repair_bad_sample(self, rng: random.Random) -> bool:
        """A sample that could not be used is served whole at last."""
        bad = [
            (snapshot, number)
            for snapshot in self.kept
            for number, sample in enumerate(snapshot.body["samples"] or ())
            if judge_sample(self._node(snapshot), sample)[0] is not None
        ]
        good = [
            sample
            for snapshot in self.kept
            for sample in snapshot.body["samples"] or ()
            if judge_sample(self._node(snapshot), sample)[0] is None
        ]
        if not bad or not good:
            return False
        snapshot, number = rng.choice(bad)
        repaired = copy.deepcopy(rng.choice(good))
        repaired["uplink_bytes_total"] += rng.randrange(1000)
        snapshot.body["samples"][number] = repaired
        return True

    def _node(self, snapshot: Snapshot) -> OracleNode:
        return OracleNode(self.source_id, *snapshot.node)

    # --- what was collected --------------------------------------------------------------------

    def collect(self, hour: int) -> Outcome:
        """What a collection of the hour, now, makes of what the database has seen."""
        served = self.served()
        now = _frozen(each for each in served if each.hour == hour)
        known = _keys(self.stored.get(hour, [])) | _keys(self._looked_back_in(hour))
        if known - _keys(now):
            self.accepted.discard(hour)
            return "history_shrunk"  # C13
        self._look_back(hour, served, {each.node for each in now})
        self.stored[hour] = now
        self.accepted.add(hour)
        # Replaced by the hour itself; from a closing on nothing after it is looked back for.
        closed = {each.node for each in now if self._has_usable_sample(each)}
        self.looked_back = [
            each
            for each in self.looked_back
            if each.hour != hour and not (each.hour > hour and each.node in closed)
        ]
        return "collected"

    def _looked_back_in(self, hour: int) -> list[Snapshot]:
        return [each for each in self.looked_back if each.hour == hour]

    def differs(self, hour: int) -> bool:
        """Whether something is served for the hour that was not collected like that."""
        if hour not in self.stored:
            return True
        stored = _contents(self.stored[hour])
        served = _contents(each for each in self.served() if each.hour == hour)
        return any(stored.get(key) != content for key, content in served.items())

    def _look_back(self, hour: int, served: list[Snapshot], nodes: set[Node]) -> None:
        """C4: kept for nodes without a closing of a collected hour before this one."""
        with_closing = {
            each.node
            for earlier, snapshots in self.stored.items()
            if earlier < hour
            for each in snapshots
            if self._has_usable_sample(each)
        }
        end_ns = hour * HOUR_NS
        start_ns = end_ns - self.settings["lookback_minutes"] * MINUTE_NS
        wanted = [
            each
            for each in served
            if start_ns <= each.at_ns < end_ns and each.node in nodes - with_closing
        ]
        for within in {each.hour for each in wanted}:
            collected = _keys(self.stored.get(within, []))
            kept = self._looked_back_in(within)
            for node in {each.node for each in wanted if each.hour == within}:
                now = [each for each in wanted if each.hour == within and each.node == node]
                # What the exporter has forgotten since stays as it was kept (C13).
                if {key for key in _keys(kept) if key[0] == node} - _keys(now):
                    continue
                self.looked_back = [
                    each for each in self.looked_back if each.hour != within or each.node != node
                ] + _frozen(each for each in now if each.key not in collected)

    def _has_usable_sample(self, snapshot: Snapshot) -> bool:
        node = self._node(snapshot)
        return any(
            judge_sample(node, sample)[0] is None for sample in snapshot.body["samples"] or ()
        )


def _frozen(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """Copies: what is served may change afterwards."""
    return [each._replace(body=copy.deepcopy(each.body)) for each in snapshots]


def _keys(snapshots: Iterable[Snapshot]) -> set[tuple[Node, int]]:
    return {each.key for each in snapshots}


def _contents(snapshots: Iterable[Snapshot]) -> dict[tuple[Node, int], "Content"]:
    """What was said about each instant, in however many snapshots (C3): samples, totals, bad ones.

    A second copy with smaller totals says nothing new; whoever collects sees it all the same.
    """
    found: dict[tuple[Node, int], Content] = {}
    for each in snapshots:
        content = found.setdefault(each.key, Content())
        for sample in each.body["samples"] or ():
            content.add(sample)
    return found


@dataclass
class Content:
    samples: int = 0
    totals: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    bad: Counter[str] = field(default_factory=Counter)

    def add(self, sample: Any) -> None:
        self.samples += 1
        reason, _ = judge_sample(OracleNode("", "", ""), sample)
        if reason is not None:
            self.bad[json.dumps(sample, sort_keys=True)] += 1
            return
        key = (sample["uuid"].lower(), sample["inbound_tag"])
        up, down = sample["uplink_bytes_total"], sample["downlink_bytes_total"]
        old_up, old_down = self.totals.get(key, (0, 0))
        self.totals[key] = (max(up, old_up), max(down, old_down))


@dataclass
class Model:
    """The whole world: sources, price book, credits, and the clock of all exporters."""

    world: World
    sources: list[SourceModel]
    now_ns: int
    hours: range  # every hour that may be collected
    book: JSON
    forgets: bool  # exporters do not keep everything
    closed_periods: set[str] = field(default_factory=set)

    @classmethod
    def of_seed(cls, seed: int) -> "Model":
        """A random world of which nothing has been served yet."""
        rng = random.Random(seed)
        world = _busy_world(seed)
        first = min(min(hours) for hours in world.collected_hours.values()) - 1
        last = max(max(hours) for hours in world.collected_hours.values())
        sources = [
            SourceModel(
                settings,
                rng.choice(("nanosecond", "nanosecond", "minute")),
                sorted(
                    (Snapshot.read(body) for body in world.snapshots[settings["source_id"]]),
                    key=lambda snapshot: snapshot.at_ns,
                ),
            )
            for settings in world.sources
        ]
        book = {
            "versions": [
                {
                    "scope": "default",
                    "key": None,
                    "from_minute": 0,
                    "price_per_byte": rng.choice(("2", "0.000000333")),
                    "included_quota_bytes": rng.choice((0, 10**6, 10**9)),
                }
            ],
            "plan_members": [],
            "source_regions": [],
            "credits": [],
            "opening_balance": world.book["opening_balance"],
            "anchor_day": world.book["anchor_day"],
        }
        forgets = rng.random() < 0.5
        return cls(world, sources, first * HOUR_NS, range(first, last + 2), book, forgets)

    @property
    def accounts(self) -> list[str]:
        """Accounts of the world; one of no usage where it has none."""
        served = sorted(
            {
                sample["uuid"].lower()
                for snapshots in self.world.snapshots.values()
                for snapshot in snapshots
                for sample in snapshot["samples"] or ()
                if judge_sample(OracleNode("", "", ""), sample)[0] is None
            }
        )
        return served or ["3f2b0a1c-0000-4000-8000-0000000000ff"]

    def audited(self, judged: int | None = None) -> Result:
        """What must stand in the database: the oracle's answer to what it has seen.

        Args:
            judged: an hour whose state counts: it is judged by what a collection of it looks at.
        """
        return audit(
            sources=[source.settings for source in self.sources],
            snapshots={source.source_id: _json(self._stored(source)) for source in self.sources},
            collected_hours={source.source_id: set(source.stored) for source in self.sources},
            book=self.book,
            served_now_ns=self.now_ns,
            lookback={source.source_id: _json(source.looked_back) for source in self.sources},
            served={source.source_id: _json(source.seen_for(judged)) for source in self.sources},
        )

    def audited_as_served(self) -> Result:
        """The same, when everything that is served was collected, by the oracle alone."""
        return audit(
            sources=[source.settings for source in self.sources],
            snapshots={source.source_id: _json(source.served()) for source in self.sources},
            collected_hours={source.source_id: set(source.stored) for source in self.sources},
            book=self.book,
            served_now_ns=self.now_ns,
        )

    def _stored(self, source: SourceModel) -> Iterator[Snapshot]:
        for snapshots in source.stored.values():
            yield from snapshots


def _busy_world(seed: int) -> World:
    """The first of the seed's worlds in which something happens; nodes may die at birth."""
    while True:
        world = random_world(seed, starts=STARTS, intervals_seconds=(300, 300, 300, 600, 120))
        if sum(map(len, world.snapshots.values())) >= 40:
            return world
        seed += 2**32


def _json(snapshots: Iterable[Snapshot]) -> list[Mapping[str, Any]]:
    return [each.body for each in snapshots]
