"""The whole proof: thousands of random steps and hundreds of kills, told at the end in a table.

    PYTHONPATH=tests python -m proof.prove            (a seed of its own, printed first)
    PYTHONPATH=tests python -m proof.prove --seed 7   (the same worlds; an interrupted one goes on)

What is finished is kept below ``.data/proof`` until the whole is, under the seed and a digest of
the code: a proof of other code is not taken up.
"""

import argparse
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from proof.machine import STEPS

ROOT: Final = Path(__file__).parents[2]
WORLDS_PER_PART: Final = 10
KILLS_PER_PART: Final = 70
CHANGED: Final = "steps that changed state"
_console = Console(width=100)


@dataclass(frozen=True)
class Part:
    """One process of the proof; its result is its last line, a JSON document."""

    name: str
    command: tuple[str, ...]

    def run(self, directory: Path) -> dict[str, Any]:
        kept = directory / f"{self.name}.json"
        if kept.exists():
            return dict(json.loads(kept.read_text()))
        finished = subprocess.run(
            [sys.executable, "-m", *self.command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}/tests{os.pathsep}{ROOT}"},
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode != 0:
            (directory / f"{self.name}.failed").write_text(finished.stdout + finished.stderr)
            raise ProofFailedError(self, finished.stdout + finished.stderr)
        result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
        kept.write_text(json.dumps(result))
        _console.print(f"{self.name}: {result['seconds']} s")
        return result


class ProofFailedError(Exception):
    """Something does not hold."""

    def __init__(self, part: Part, output: str) -> None:
        super().__init__(f"{part.name} failed; again with: python -m {' '.join(part.command)}")
        self.output = output


def digest_of_the_code() -> str:
    """Of everything that a proof is about."""
    digest = hashlib.blake2b(digest_size=8)
    for folder in ("billing_etl", "sql", "tests"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".py", ".sql"}:
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def walk_part(seed: int, number: int) -> Part:
    of = ("--seed", str(seed * 1000 + number), "--worlds", str(WORLDS_PER_PART))
    return Part(f"walk-{number:03}", ("proof.walk", *of))


def crash_parts(seed: int, kills: int) -> list[Part]:
    parts = -(-kills // KILLS_PER_PART)
    each = str(-(-kills // max(1, parts)))
    return [
        Part(f"crashes-{number}", ("proof.crashes", "--seed", f"{seed}{number}", "--kills", each))
        for number in range(parts)
    ]


@dataclass
class Proof:
    seed: int
    steps: int
    kills: int
    workers: int

    def __post_init__(self) -> None:
        name = f"{self.seed}-{self.steps}-{self.kills}-{digest_of_the_code()}"
        self.directory = ROOT / ".data" / "proof" / name
        self.seconds = 0
        self.done: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.recoveries = 0
        self.has_failed = False

    def run(self) -> None:
        """Crashes first: they are known in number; walks until there are steps enough."""
        self.directory.mkdir(parents=True, exist_ok=True)
        numbers = count()
        with ThreadPoolExecutor(self.workers) as pool:
            under_way = [
                pool.submit(self._crash, part) for part in crash_parts(self.seed, self.kills)
            ]
            under_way += [pool.submit(self._walk_on, numbers) for _ in range(self.workers)]
            for each in under_way:
                each.result()

    def _crash(self, part: Part) -> None:
        result = self._result_of(part)
        self.kinds.update(result["kills"])
        self.recoveries += result["comparisons"]

    def _walk_on(self, numbers: Iterator[int]) -> None:
        while not self.has_failed and self.done[CHANGED] < self.steps:
            self.done.update(self._result_of(walk_part(self.seed, next(numbers)))["done"])

    def _result_of(self, part: Part) -> dict[str, Any]:
        try:
            result = part.run(self.directory)
        except ProofFailedError:
            self.has_failed = True
            raise
        self.seconds += result["seconds"]
        return result

    def what_is_missing(self) -> list[str]:
        """Why this is no proof although nothing failed."""
        worlds, at_the_end = self.done["worlds"], self.done["worlds equal to the oracle at the end"]
        missing = []
        if self.done[CHANGED] < self.steps:
            missing.append(f"{self.done[CHANGED]} of {self.steps} {CHANGED}")
        if worlds != at_the_end:
            missing.append(f"{at_the_end} of {worlds} worlds were compared at the end")
        if self.kinds.total() < self.kills:
            missing.append(f"{self.kinds.total()} of {self.kills} kills")
        missing += [f"no step of kind {kind}" for kind in STEPS if not self.done[f"step: {kind}"]]
        return missing

    def table(self, minutes: float) -> Table:
        table = Table(title=f"proof, seed {self.seed}", title_justify="left")
        table.add_column("what")
        table.add_column("times", justify="right")
        rows = [(name, self.done[name]) for name in sorted(self.done) if "step: " not in name]
        for name, times in rows:
            table.add_row(name, f"{times:,}")
        table.add_section()
        for name in sorted(name for name in self.done if "step: " in name):
            table.add_row(name, f"{self.done[name]:,}")
        table.add_section()
        table.add_row("kills inside a transaction, a COPY or a PUT", f"{self.kinds.total():,}")
        for kind, times in sorted(self.kinds.items()):
            table.add_row(f"kill: {kind}", f"{times:,}")
        table.add_row("recoveries equal to the oracle and the bucket", f"{self.recoveries:,}")
        table.add_section()
        table.add_row("minutes", f"{minutes:.1f}")
        table.add_row("minutes of all its processes", f"{self.seconds / 60:.1f}")
        return table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="proof.prove", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--steps", type=int, default=10_000, help="steps that change state")
    parser.add_argument("--kills", type=int, default=200)
    # One more than cores: a step waits for the disk, too.
    parser.add_argument("--workers", type=int, default=(os.cpu_count() or 1) + 1)
    chosen = parser.parse_args(arguments)
    _console.print(f"seed {chosen.seed}: `make prove SEED={chosen.seed}` does this again")
    proof = Proof(chosen.seed, chosen.steps, chosen.kills, chosen.workers)
    started = time.monotonic()
    try:
        proof.run()
    except ProofFailedError as failed:
        _console.print(failed.output, markup=False, highlight=False)
        _console.print(f"[red]NOT PROVEN[/red]: {failed}")
        return 1
    _console.print(proof.table((time.monotonic() - started) / 60))
    missing = proof.what_is_missing()
    if missing:
        _console.print(f"[red]NOT PROVEN[/red]: {', '.join(missing)}")
        return 1
    shutil.rmtree(proof.directory)
    _console.print("[green]proven[/green]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
