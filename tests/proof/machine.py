"""A state machine that grows a world and does everything to it in any order (hypothesis).

After every step the invariants hold and the tables hold what the oracle computes from what was
seen; what is done a second time changes nothing. At the end, everything once more in order.
"""

import random
from collections import Counter
from typing import ClassVar, Final, NamedTuple

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from oracle.terms import MINUTE_NS

from billing_etl.hours import Hour
from proof.ground import Ground
from proof.site import Site

# How often each kind of step is drawn. One rule draws them all: of several rules hypothesis would
# leave some out of a whole world, and a world in which nobody collects proves nothing.
STEPS: Final = {
    "collect an hour": 7,
    "collect hours of a source": 3,
    "collect an hour everywhere": 4,
    "collect and rate side by side": 2,
    "collect from a broken exporter": 1,
    "rate": 3,
    "publish a price": 3,
    "publish a membership": 2,
    "publish a region": 1,
    "credit": 1,
    "close a period": 1,
    "export": 4,
    "reconcile": 1,
    "reconcile without repair": 1,
    "late snapshots arrive": 2,
    "content changes": 2,
    "bad sample is repaired": 1,
    "exporter forgets": 1,
}
KINDS: Final = [kind for kind, times in STEPS.items() for _ in range(times)]
# An exporter that forgets again and again soon serves nothing, and nothing happens any more.
MOST_TIMES_FORGOTTEN: Final = 2


class Drawn(NamedTuple):
    """What a step is made of; each kind takes what it needs."""

    first: int
    second: int
    minutes: int
    seed: int
    then_rate: bool

    @property
    def rng(self) -> random.Random:
        return random.Random(self.seed)


class Billing(RuleBasedStateMachine):
    """One world, from the first snapshot to the last correction."""

    site: ClassVar[Site]
    done: ClassVar[Counter[str]]  # over all worlds, for the report

    def __init__(self) -> None:
        super().__init__()
        self.ground: Ground | None = None
        self.is_healthy = False

    @initialize(seed=st.integers(0, 2**32 - 1))
    def begin(self, seed: int) -> None:
        assume(seed)  # hypothesis begins with nothing but zeros, every time
        self.ground = Ground(self.site, seed, self.done)
        self.ground.pass_time(90)
        self.ground.collect(self.ground.model.sources, [self.ground.hour(0)])
        self.ground.check()
        self.is_healthy = True

    @rule(
        kind=st.sampled_from(KINDS),
        first=st.integers(0, 5),
        second=st.integers(0, 5),
        minutes=st.sampled_from((0, 60, 20, 5, 120)),
        seed=st.integers(0, 2**16 - 1),
        then_rate=st.booleans(),
        twice=st.sampled_from((False, True, False)),
    )
    def step(
        self,
        kind: str,
        first: int,
        second: int,
        minutes: int,
        seed: int,
        then_rate: bool,
        twice: bool,
    ) -> None:
        assert self.ground is not None
        self.is_healthy = False
        self.ground.repeat = None
        take = getattr(self, "_" + kind.replace(" ", "_"))
        take(self.ground, Drawn(first, second, minutes, seed, then_rate))
        self.done["steps"] += 1
        self.done[f"step: {kind}"] += 1
        self.ground.check()
        if twice:
            self.ground.do_again()
        self.is_healthy = True

    def teardown(self) -> None:
        if self.ground is None:
            return
        with self.ground.stack:
            if self.is_healthy:
                self.done["worlds"] += 1
                self.ground.settle()

    # --- collecting ----------------------------------------------------------------------------

    def _collect_an_hour(self, ground: Ground, drawn: Drawn) -> None:
        ground.pass_time(drawn.minutes)
        source = ground.source(drawn.first)
        ground.collect([source], [ground.worthwhile_hour([source], drawn.second)])
        self._perhaps_rate(ground, drawn)

    def _collect_hours_of_a_source(self, ground: Ground, drawn: Drawn) -> None:
        ground.pass_time(drawn.minutes)
        hours = [Hour(index) for index in drawn.rng.choices(ground.model.hours, k=3)]
        ground.collect([ground.source(drawn.first)], hours)

    def _collect_an_hour_everywhere(self, ground: Ground, drawn: Drawn) -> None:
        ground.pass_time(drawn.minutes)
        sources = ground.model.sources
        ground.collect(sources, [ground.worthwhile_hour(sources, drawn.first)])
        self._perhaps_rate(ground, drawn)

    def _collect_and_rate_side_by_side(self, ground: Ground, drawn: Drawn) -> None:
        ground.pass_time(drawn.minutes)
        ground.collect_and_rate_side_by_side(
            [
                ground.worthwhile_hour(ground.model.sources, number)
                for number in (drawn.first, drawn.second)
            ]
        )

    def _collect_from_a_broken_exporter(self, ground: Ground, drawn: Drawn) -> None:
        ground.collect_while_one_refuses(ground.source(drawn.first), ground.hour(drawn.second))

    def _perhaps_rate(self, ground: Ground, drawn: Drawn) -> None:
        if drawn.then_rate:
            ground.rate()

    # --- money ---------------------------------------------------------------------------------

    def _rate(self, ground: Ground, drawn: Drawn) -> None:
        ground.rate()

    def _publish_a_price(self, ground: Ground, drawn: Drawn) -> None:
        ground.publish_price(drawn.rng)

    def _publish_a_membership(self, ground: Ground, drawn: Drawn) -> None:
        ground.publish_membership(drawn.rng)

    def _publish_a_region(self, ground: Ground, drawn: Drawn) -> None:
        ground.publish_region(drawn.rng)

    def _credit(self, ground: Ground, drawn: Drawn) -> None:
        ground.credit(drawn.rng)

    def _close_a_period(self, ground: Ground, drawn: Drawn) -> None:
        ground.close_period(drawn.first)

    # --- delivering and reconciling ------------------------------------------------------------

    def _export(self, ground: Ground, drawn: Drawn) -> None:
        hours = ground.some_hours(drawn.first, 1 + drawn.second)
        ground.export(ground.all_hours() if drawn.then_rate else hours)

    def _reconcile(self, ground: Ground, drawn: Drawn) -> None:
        ground.reconcile(ground.some_hours(drawn.first, 1 + drawn.second), repair=True)

    def _reconcile_without_repair(self, ground: Ground, drawn: Drawn) -> None:
        ground.reconcile(ground.some_hours(drawn.first, 1 + drawn.second), repair=False)

    # --- the world goes on ---------------------------------------------------------------------

    def _late_snapshots_arrive(self, ground: Ground, drawn: Drawn) -> None:
        share = 1.0 if drawn.then_rate else 0.3
        for source in ground.model.sources:
            self._served(source.let_late_ones_arrive(share, drawn.rng) > 0)

    def _content_changes(self, ground: Ground, drawn: Drawn) -> None:
        self._served(ground.source(drawn.first).change_content(drawn.rng))

    def _bad_sample_is_repaired(self, ground: Ground, drawn: Drawn) -> None:
        self._served(ground.source(drawn.first).repair_bad_sample(drawn.rng))

    def _exporter_forgets(self, ground: Ground, drawn: Drawn) -> None:
        source = ground.source(drawn.first)
        if ground.model.forgets and source.times_forgotten < MOST_TIMES_FORGOTTEN:
            minutes = 20 if drawn.then_rate else 90
            self._served(source.forget_oldest(minutes * MINUTE_NS) > 0)

    def _served(self, changed: bool) -> None:
        """Notes that an exporter serves something else now, if it does."""
        assert self.ground is not None
        if changed:
            self.ground.has_served_changed = True
            self.done["changes of what is served"] += 1
