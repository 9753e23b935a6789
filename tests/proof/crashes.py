"""Kills the real process at random moments, again and again, and compares what recovers.

    PYTHONPATH=tests python -m proof.crashes --seed 1 --kills 200

A world is run, killed several times in a row, recovered by one undisturbed run, and compared with
the independent oracle and with the bucket. Then snapshots turn up late, and all of it again.
Counted are kills inside of a transaction that has written, a COPY, a commit or a PUT only.
"""

import argparse
import ast
import itertools
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from oracle.worlds import STARTS, World, random_world
from pipeline.harness import JSON
from pipeline.world_harness import adapted

from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.store.database import migrate
from proof.crash_site import Moment, Services, Site, the_nth

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
# Of what only one side has.
_SHOWN: Final = 5


@dataclass
class Tally:
    kills: Counter[str] = field(default_factory=Counter)
    worlds: int = 0
    comparisons: int = 0


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
    site: Site, moments: Sequence[Moment], positions: Sequence[int], tally: Tally
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
    """Two rounds: what was served first, and what turned up late. Nothing is mended by hand."""
    rng = random.Random(seed)
    world = crash_world(seed)
    early = replace(world, snapshots=without_late(world, rng))
    paths = [directory / name for name in ("undisturbed", "killed")]
    for path in paths:
        path.mkdir(parents=True)
    with Site.of(services, early, paths[0]) as twin, Site.of(services, early, paths[1]) as site:
        for snapshots in (early.snapshots, world.snapshots):
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
    with tempfile.TemporaryDirectory(prefix="billing-etl-proof-") as name:
        directory = Path(name)
        directory.chmod(0o711)  # as root the database server runs as another user
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
                raise WorldError(f"world {seed}: {_difference(error)}") from error
            hits = ", ".join(f"{n} {kind}" for kind, n in (tally.kills - before).items())
            _say(f"world {seed}: killed in {hits or 'nothing'}; equal")
    return tally


class WorldError(Exception):
    """A world did not end in what it must end in; the text has its seed and the difference."""


def _difference(error: AssertionError) -> str:
    """Both sides of the comparison that failed: without pytest an assertion does not tell them."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return str(error)
    frame, lineno = trace.tb_frame, trace.tb_lineno
    path = Path(frame.f_code.co_filename)
    where = f"{path.name}:{lineno} {error}"
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Assert) or not isinstance(node.test, ast.Compare):
            continue
        if node.lineno <= lineno <= (node.end_lineno or 0):
            sides = [
                eval(ast.unparse(side), frame.f_globals | frame.f_locals)
                for side in (node.test.left, node.test.comparators[0])
            ]
            return f"{where}\n  {ast.unparse(node.test)}\n{_unequal(*sides)}"
    return where


def _unequal(left: Any, right: Any) -> str:
    if isinstance(left, dict) and isinstance(right, dict):
        left, right = set(left.items()), set(right.items())
    if isinstance(left, set) and isinstance(right, set):
        left, right = left - right, right - left
        left, right = sorted(map(repr, left)), sorted(map(repr, right))
        return "\n".join(
            f"  only {side}: {each}"
            for side, items in (("left", left), ("right", right))
            for each in items[:_SHOWN]
        )
    return f"  left: {left!r}\n  right: {right!r}"


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
                "seconds": round(time.monotonic() - started),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
