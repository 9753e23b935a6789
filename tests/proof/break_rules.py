"""`make break`: breaks one rule of the code at a time and shows which test notices.

    PYTHONPATH=tests python -m proof.break_rules               (every entry of broken_rules)
    PYTHONPATH=tests python -m proof.break_rules --rule C5,R4  (those of some rules)
    PYTHONPATH=tests python -m proof.break_rules --by-walk     (a random walk instead of the tests)
    PYTHONPATH=tests python -m proof.break_rules --table       (writes docs/broken-rules.md only)

The checkout stays as it is: the work is done in copies of it below ``.data/break``. What the walks
noticed is kept there in ``walk.json``, for the table.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final, TypeAlias

from rich.console import Console
from rich.table import Table

from proof.broken_rules import BREAKS, Break

ROOT: Final = Path(__file__).resolve().parents[2]
WORKPLACE: Final = ROOT / ".data" / "break"
WALKED: Final = WORKPLACE / "walk.json"
PAGE: Final = ROOT / "docs" / "broken-rules.md"
COPIES: Final = 2
_NOT_COPIED: Final = (".git", ".venv", ".data", "__pycache__", ".hypothesis", ".*_cache")
_OUTPUT_SHOWN: Final = 4000
# A change that cannot run at all breaks no rule: the test must fail on what the code does.
_CANNOT_RUN: Final = re.compile(
    r"SyntaxError|syntax error|ImportError|ModuleNotFoundError|NameError|UnboundLocalError"
    r"|AttributeError: module|Undefined(Column|Function|Table|Parameter)"
)
# A walk is the same every time; over all breaks it must notice at least so many.
WALK: Final = ("proof.walk", "--seed", "7", "--worlds", "6")
NOTICED_BY_WALK: Final = 20
# The first error of a walk, at the margin or in the frame of a group.
_ERROR: Final = re.compile(r"^[ |]*((?:\w+\.)*\w+(?:Error|Violation|Failure|Exception)\b.*)", re.M)
_console = Console(width=160)

# Whether a walk noticed a break, by its rule and what is broken.
Walked: TypeAlias = dict[tuple[str, str], bool]

INTRODUCTION: Final = """\
# Break a rule, and see which test notices

Each row breaks one rule of [semantics](semantics.md) or one promise or check of the
[delivery contract](delivery-contract.md) in one place of the code, and names the test that fails
on it. `make break` does so in copies of the checkout, one row at a time, after it has seen every
one of these tests pass there, and fails when a break goes unnoticed; `make break RULE=C5` does it
for one rule. `make break WALK=1` lets random walks of the [proof](proof.md) look for the same
breaks, without a test that was written for them; it takes the better part of an hour and is
no part of CI. To do it by hand, make the change in the file that the row names (the exact text
stands in `tests/proof/broken_rules.py`) and run `.venv/bin/python -m pytest` with the path of the
test. The table is written by `PYTHONPATH=tests .venv/bin/python -m proof.break_rules --table`.
"""


@dataclass(frozen=True)
class Outcome:
    """What a test said of a break; ``caught`` when it failed, and not for another reason."""

    caught: bool
    output: str

    @property
    def says(self) -> str:
        """What the test complained of first, in one line."""
        lines = re.findall(r"^E +(.*)", self.output, re.MULTILINE) or _ERROR.findall(self.output)
        return lines[0] if lines else ""


class Copy:
    """A copy of the checkout in which the tests run on its own code."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        found = self._python("-c", "import billing_etl; print(billing_etl.__file__)").stdout
        if not Path(found.strip()).is_relative_to(root):
            raise SystemExit(f"break: expected billing_etl of {root}, got {found.strip()}")

    def passes(self, tests: Sequence[str]) -> Outcome:
        """Whether all of these tests pass."""
        ended = self._pytest(*tests)
        return Outcome(ended.returncode == 0, ended.stdout + ended.stderr)

    def catches(self, entry: Break) -> Outcome:
        """Whether the entry's test fails while its rule is broken; the copy is whole again then."""
        with self._broken(entry):
            ended = self._pytest(entry.test)
        output = ended.stdout + ended.stderr
        return Outcome(is_caught(ended.returncode, output), output)

    def walks(self) -> Outcome:
        """Whether a walk comes to its end."""
        ended = self._python("-m", *WALK)
        return Outcome(ended.returncode == 0, ended.stdout + ended.stderr)

    def walk_notices(self, entry: Break) -> Outcome:
        """Whether a walk fails while the entry's rule is broken."""
        with self._broken(entry):
            ended = self._python("-m", *WALK)
        output = ended.stdout + ended.stderr
        return Outcome(ended.returncode == 1 and not _CANNOT_RUN.search(output), output)

    @contextmanager
    def _broken(self, entry: Break) -> Iterator[None]:
        path = self.root / entry.file
        whole = path.read_text("utf-8")
        path.write_text(broken_text(entry, whole), "utf-8")
        try:
            yield
        finally:
            path.write_text(whole, "utf-8")

    def _pytest(self, *tests: str) -> "subprocess.CompletedProcess[str]":
        return self._python("-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", *tests)

    def _python(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        # Compiled code is told by second and size: what was broken a moment ago could pass for it.
        environment = os.environ | {
            "PYTHONPATH": f"{self.root / 'tests'}{os.pathsep}{self.root}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )


def broken_text(entry: Break, whole: str) -> str:
    """The file's text with its rule broken.

    Raises:
        ValueError: the place is not there, or not only once.
    """
    if (places := whole.count(entry.find)) != 1:
        raise ValueError(f"{entry.file}: expected {entry.find!r} once, got it {places} times")
    return whole.replace(entry.find, entry.replace)


def is_caught(exit_code: int, output: str) -> bool:
    """Whether pytest says that a test failed on what the code does, and not that it cannot run."""
    # 1: something failed. An error around a test is no failure of what it asserts.
    failed = exit_code == 1 and re.search(r"^.*\b[0-9]+ failed\b.* in ", output, re.MULTILINE)
    return bool(failed) and not _CANNOT_RUN.search(output)


def in_copies(
    copies: Sequence[Copy], entries: Sequence[Break], try_out: Callable[[Copy, Break], Outcome]
) -> Iterator[Outcome]:
    """Outcomes in the order of the entries; as many at once as there are copies."""
    free: SimpleQueue[Copy] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def run(entry: Break) -> Outcome:
        copy = free.get()
        try:
            return try_out(copy, entry)
        finally:
            free.put(copy)

    with ThreadPoolExecutor(len(copies)) as pool:
        yield from pool.map(run, entries)


def all_pass(copies: Sequence[Copy], tests: Sequence[str]) -> bool:
    """Every test passes while nothing is broken; what does not is printed."""
    shares = [share for at in range(len(copies)) if (share := tests[at :: len(copies)])]
    with ThreadPoolExecutor(len(copies)) as pool:
        outcomes = list(pool.map(Copy.passes, copies, shares))
    for outcome in outcomes:
        if not outcome.caught:
            _console.print(outcome.output[-_OUTPUT_SHOWN:], markup=False, highlight=False)
    return all(outcome.caught for outcome in outcomes)


def new_copies() -> list[Copy]:
    return [Copy(WORKPLACE / str(number)) for number in range(1, COPIES + 1)]


def break_rules(entries: Sequence[Break]) -> bool:
    """Breaks one after the other and prints what became of it; whether every break was caught."""
    copies = new_copies()
    tests = list(dict.fromkeys(entry.test for entry in entries))
    _console.print(f"{len(tests)} tests while nothing is broken ...")
    if not all_pass(copies, tests):
        _console.print("[red]these must pass before anything is broken")
        return False
    table = Table("rule", "what was broken", "caught by")
    missed: list[tuple[Break, Outcome]] = []
    for entry, outcome in zip(entries, in_copies(copies, entries, Copy.catches), strict=True):
        told = f"{entry.rule}: {entry.broken}"
        _console.print(f"{'caught' if outcome.caught else 'NOT CAUGHT'}  {told}", highlight=False)
        _console.print(f"        {outcome.says}", markup=False, highlight=False, no_wrap=True)
        table.add_row(entry.rule, entry.broken, entry.test if outcome.caught else "[red]not caught")
        if not outcome.caught:
            missed.append((entry, outcome))
    _console.print(table)
    for entry, outcome in missed:
        _console.print(f"\n{entry.rule}: {entry.broken}, not caught by {entry.test}", style="red")
        _console.print(outcome.output[-_OUTPUT_SHOWN:], markup=False, highlight=False)
    _console.print(f"{len(entries) - len(missed)} of {len(entries)} breaks were caught")
    return not missed


def break_by_walk(entries: Sequence[Break]) -> int | None:
    """Lets a walk look for each break that it may notice; gives how many it did.

    What it noticed is kept at once. None: it fails while nothing is broken.
    """
    tried = [entry for entry in entries if not entry.no_walk]
    copies = new_copies()
    _console.print("a walk while nothing is broken ...")
    if not (whole := copies[0].walks()).caught:
        _console.print(whole.output[-_OUTPUT_SHOWN:], markup=False, highlight=False)
        _console.print("[red]it must come to its end before anything is broken")
        return None
    noticed = 0
    walked = kept()
    for entry, outcome in zip(tried, in_copies(copies, tried, Copy.walk_notices), strict=True):
        noticed += outcome.caught
        verdict = "caught" if outcome.caught else "not caught by the walk"
        _console.print(f"{verdict}  {entry.rule}: {entry.broken}", highlight=False)
        _console.print(f"        {outcome.says}", markup=False, highlight=False, no_wrap=True)
        walked[entry.rule, entry.broken] = outcome.caught
        WALKED.write_text(json.dumps([[*name, caught] for name, caught in walked.items()]))
    for entry in entries:
        if entry.no_walk:
            _console.print(f"not tried  {entry.rule}: {entry.broken}: {entry.no_walk}")
    _console.print(f"a walk noticed {noticed} of {len(tried)} breaks")
    return noticed


def kept() -> Walked:
    """What walks have noticed so far."""
    if not WALKED.exists():
        return {}
    return {(rule, broken): caught for rule, broken, caught in json.loads(WALKED.read_text())}


_CELLS: Final = {True: "yes", False: "no"}
_BY_WALK: Final = "caught by the walk too"


def page(walked: Mapping[tuple[str, str], bool]) -> str:
    """The text of docs/broken-rules.md; its last column is there once walks were made."""
    rows = [("rule", "what is broken", "in", "caught by", _BY_WALK), ("---",) * 5]
    for entry in BREAKS:
        caught = walked.get((entry.rule, entry.broken))
        by_walk = "not tried" if caught is None else _CELLS[caught]
        cells = (entry.rule, entry.broken, f"`{entry.file}`", f"`{entry.test}`")
        rows.append((*cells, f"no: {entry.no_walk}" if entry.no_walk else by_walk))
    columns = 5 if walked else 4
    return INTRODUCTION + "\n" + "".join(f"| {' | '.join(row[:columns])} |\n" for row in rows)


def walked_in(text: str) -> Walked:
    """What a written page says of walks."""
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    names = {cell: caught for caught, cell in _CELLS.items()}
    return {(row[0], row[1]): names[row[4]] for row in cells if len(row) == 5 and row[4] in names}


def main() -> int:
    parser = argparse.ArgumentParser(prog="proof.break_rules", description=__doc__)
    parser.add_argument("--rule", help="such as C5 or R4,Manifest,ratings_ledger")
    parser.add_argument("--table", action="store_true", help="write docs/broken-rules.md only")
    parser.add_argument("--by-walk", action="store_true", help="a random walk looks, not the tests")
    options = parser.parse_args()
    if options.table:
        PAGE.write_text(page(walked_in(PAGE.read_text("utf-8")) | kept()), "utf-8")
        return 0
    known = dict.fromkeys(entry.rule for entry in BREAKS)
    rules = options.rule.split(",") if options.rule else known
    if unknown := [rule for rule in rules if rule not in known]:
        parser.error(f"expected some of {', '.join(known)}, got {', '.join(unknown)}")
    wanted = [entry for entry in BREAKS if entry.rule in rules]
    if options.by_walk:
        noticed = break_by_walk(wanted)
        enough = 0 if options.rule else NOTICED_BY_WALK
        return 0 if noticed is not None and noticed >= enough else 1
    return 0 if break_rules(wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
