"""Kills the real process at random moments, again and again, and compares what recovers.

    PYTHONPATH=tests python -m proof.crashes --seed 1 --kills 200

A world is run, killed several times in a row, recovered by one undisturbed run, and compared with
the independent oracle and with the bucket. Then billing periods are closed, a price and a region
are published into the past, snapshots turn up late, and all of it again.
Counted are kills inside of a transaction that has written, a COPY, a commit or a PUT only. At an
``inside_put`` the client has sent its whole body to the proxy, and the server got half of it.
"""

import argparse
import itertools
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

from oracle.money import period_start
from oracle.worlds import STARTS, World, random_version, random_world
from pipeline.harness import JSON
from pipeline.world_harness import adapted, version_of
from scratch import scratch_directory

from billing_etl.hours import minute_start
from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.pipeline.accounts import close_period
from billing_etl.pipeline.prices import PriceFile, publish_prices
from billing_etl.store.migrations import migrate
from billing_etl.store.prices import SourceRegion
from proof.crash_site import CrashSite, Moment, Services, the_nth

# How often each kind is drawn, where the run has such moments.
WEIGHTS: Final = {
    "transaction": 35,
    "copy": 25,
    "commit_sent": 16,
    "before_put": 8,
    "inside_put": 8,
    "put_unrecorded": 8,
}
# Kills in a row before a world recovers.
_KILLS_IN_A_ROW: Final = (6, 14)
_LATE_SHARE: Final = 0.2
_CLOSED_SHARE: Final = 0.7
# From so many kills on, one of each kind must be among them.
_KILLS_OF_EVERY_KIND: Final = 100


@dataclass
class Tally:
    kills: Counter[str] = field(default_factory=Counter)
    worlds: int = 0
    comparisons: int = 0
    between_rounds: Counter[str] = field(default_factory=Counter)


def crash_world(seed: int) -> World:
    """Two hours of a random world, all of them collected; in the past, so that they are sealed."""
    world = adapted(random_world(seed, 2, starts=STARTS[:3], intervals_seconds=(60, 120, 300)))
    end = max(index for hours in world.collected_hours.values() for index in hours) + 1
    every = {source_id: {end - 2, end - 1} for source_id in world.collected_hours}
    # Regions are published for sources that were collected before; here none was.
    return replace(world, collected_hours=every, book=world.book | {"source_regions": []})


def without_late(world: World, rng: random.Random) -> dict[str, list[JSON]]:
    return {
        source_id: [each for each in snapshots if rng.random() > _LATE_SHARE]
        for source_id, snapshots in world.snapshots.items()
    }


def change_money(sites: Sequence[CrashSite], rng: random.Random) -> Counter[str]:
    """Closes ended periods and publishes into the past, on each site alike; gives what it did."""
    world = sites[0].world
    minutes = [
        minute
        for hour in sorted(set().union(*world.collected_hours.values()))
        for minute in range(hour * 60, hour * 60 + 60)
    ]
    labels = [label for label in ended_periods(world, minutes) if rng.random() < _CLOSED_SHARE]
    version = new_version(world, minutes, rng)
    source_id = rng.choice(sorted(world.collected_hours))
    region = SourceRegion(source_id, rng.choice(("jp", "eu", "us")), rng.choice(minutes))
    number = len(world.book["versions"])
    for site in sites:
        for label in labels:
            close_period(site.engine, label)
        publish_prices(site.engine, PriceFile([version_of(number, version)], [], [region]))
        book = {
            "versions": [*world.book["versions"], version],
            "source_regions": [*world.book["source_regions"], asdict(region)],
        }
        site.world = replace(site.world, book=world.book | book)
    return Counter({"price": 1, "region": 1, "closed period": len(labels)})


def ended_periods(world: World, minutes: Iterable[int]) -> list[str]:
    """The billing periods of these minutes that have ended by now, as ``close`` names them."""
    anchor_day = world.book["anchor_day"]
    running = period_start(int(time.time()) // 60, anchor_day)
    starts = {period_start(minute, anchor_day) for minute in minutes} - {running}
    return [f"{minute_start(start):%Y-%m}" for start in sorted(starts)]


def new_version(world: World, minutes: Iterable[int], rng: random.Random) -> JSON:
    """A default price from a minute of these that has none of its own yet."""
    versions = world.book["versions"]
    taken = {each["from_minute"] for each in versions if each["scope"] == "default"}
    version = random_version(rng, "default", None, rng.choice(sorted(set(minutes) - taken)))
    if version["included_quota_bytes"] is None:
        version["included_quota_bytes"] = world.book["quota"]
    return version


def drawn(moments: Sequence[Moment], count: int, rng: random.Random) -> list[int]:
    """Positions of moments to kill at, in their order; every kind that there is has a chance."""
    of_kind: dict[str, list[int]] = {kind: [] for kind in WEIGHTS}
    for position, moment in enumerate(moments):
        of_kind[moment.kind].append(position)
    chosen: set[int] = set()
    for _ in range(count):
        left = {kind: WEIGHTS[kind] for kind, positions in of_kind.items() if positions}
        if not left:
            break
        (kind,) = rng.choices(list(left), list(left.values()))
        position = rng.choice(of_kind[kind])
        of_kind[kind].remove(position)
        chosen.add(position)
    return sorted(chosen)


def killed_in_a_row(
    site: CrashSite, moments: Sequence[Moment], positions: Sequence[int], tally: Tally
) -> None:
    """Kills one process after the other at these moments of an undisturbed run.

    What was committed before a kill is not done again, so each process begins, as it were, after
    the last commit before the previous kill; from there the moments of a kind are counted.
    """
    begin = 0
    for position in positions:
        kind = moments[position].kind
        number = sum(moment.kind == kind for moment in moments[begin : position + 1])
        trap = site.killed(the_nth(number, kind))
        if trap.sprung is None:
            continue  # it had less left to do, and came to its end
        tally.kills[kind] += 1
        commits = [at for at in range(position + 1) if moments[at].kind == "commit_sent"]
        begin = commits[-1] + 1 if commits else 0


def run_world(services: Services, seed: int, kills: int, directory: Path, tally: Tally) -> None:
    """Two rounds: what was served first, and what came late. Nothing is mended by hand."""
    rng = random.Random(seed)
    world = crash_world(seed)
    early = replace(world, snapshots=without_late(world, rng))
    paths = [directory / name for name in ("undisturbed", "killed")]
    for path in paths:
        path.mkdir(parents=True)
    with (
        CrashSite.of(services, early, paths[0]) as twin,
        CrashSite.of(services, early, paths[1]) as site,
    ):
        for is_late, snapshots in enumerate((early.snapshots, world.snapshots)):
            if is_late:
                tally.between_rounds += change_money((twin, site), rng)
            for each in (twin, site):
                each.serve(snapshots)
            moments = twin.moments()
            count = min(kills - tally.kills.total(), rng.randint(*_KILLS_IN_A_ROW))
            killed_in_a_row(site, moments, drawn(moments, count, rng), tally)
            site.recover()
            site.assert_equal_to_the_oracle()
            tally.comparisons += 1
        site.assert_again_changes_nothing()
        tally.comparisons += 1
    tally.worlds += 1


@contextmanager
def embedded_services() -> Iterator[Services]:
    """Servers of their own, gone at the end."""
    with scratch_directory() as directory:
        postgres = EmbeddedPostgres(directory / "postgres")
        try:
            postgres.start()
            postgres.create_database("migrated")
            migrate(postgres.url("migrated"))
            with EmbeddedObjectStore(directory / "object-store") as store:
                store.create_bucket("proof")
                with Services.behind_proxies(postgres, "migrated", store, "proof") as services:
                    yield services
        finally:
            postgres.remove()


def run_campaign(world_seeds: Iterator[int], kills: int) -> Tally:
    """Worlds until so many kills have hit.

    Raises:
        WorldError: a world did not end in what it must end in.
    """
    tally = Tally()
    with embedded_services() as services, tempfile.TemporaryDirectory() as directory:
        while tally.kills.total() < kills:
            seed, before = next(world_seeds), tally.kills.copy()
            try:
                run_world(services, seed, kills, Path(directory) / str(tally.worlds), tally)
            except AssertionError as error:
                raise WorldError(f"world {seed}: {_told(error)}") from error
            hits = ", ".join(f"{n} {kind}" for kind, n in (tally.kills - before).items())
            _say(f"world {seed}: killed in {hits or 'nothing'}; equal")
    return tally


class WorldError(Exception):
    """A world did not end in what it must end in; the text has its seed and the difference."""


def _told(error: AssertionError) -> str:
    """Where it stands and what it says, or the assertion itself when it says nothing."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno} {error}".rstrip() + (
        "" if str(error) else f" {last.line}"
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="proof.crashes", description=__doc__)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--world", type=int, help="only this world, again and again")
    arguments = parser.parse_args()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    _say(f"seed {seed}")
    draw = random.Random(seed)
    world_seeds = (
        draw.randrange(2**32) if arguments.world is None else arguments.world
        for _ in itertools.count()
    )
    started = time.monotonic()
    try:
        tally = run_campaign(world_seeds, arguments.kills)
    except WorldError as error:
        _say(f"seed {seed}, {error}")
        return 1
    _say(
        json.dumps(
            {
                "seed": seed,
                "kills": {kind: tally.kills[kind] for kind in WEIGHTS},
                "worlds": tally.worlds,
                "comparisons": tally.comparisons,
                "between_rounds": tally.between_rounds,
                "seconds": round(time.monotonic() - started),
            }
        )
    )
    missing = [kind for kind in WEIGHTS if not tally.kills[kind]]
    if arguments.kills >= _KILLS_OF_EVERY_KIND and missing:
        _say(f"seed {seed}: expected kills of every kind, got none of {', '.join(missing)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
