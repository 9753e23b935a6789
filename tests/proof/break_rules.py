"""`make break`: breaks one rule of the code at a time and shows which test notices.

    PYTHONPATH=tests python -m proof.break_rules            (every entry of broken_rules)
    PYTHONPATH=tests python -m proof.break_rules --rule C5  (those of one rule)
    PYTHONPATH=tests python -m proof.break_rules --table    (writes docs/broken-rules.md only)

The checkout stays as it is: the work is done in copies of it below ``.data/break``.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from rich.console import Console
from rich.table import Table

from proof.broken_rules import BREAKS, Break

ROOT: Final = Path(__file__).resolve().parents[2]
WORKPLACE: Final = ROOT / ".data" / "break"
PAGE: Final = ROOT / "docs" / "broken-rules.md"
COPIES: Final = 2
_NOT_COPIED: Final = (".git", ".venv", ".data", "__pycache__", ".hypothesis", ".*_cache")
_OUTPUT_SHOWN: Final = 4000
# A change that cannot run at all breaks no rule: the test must fail on what the code does.
_CANNOT_RUN: Final = re.compile(
    r"SyntaxError|syntax error|ImportError|ModuleNotFoundError|NameError|UnboundLocalError"
    r"|AttributeError: module|Undefined(Column|Function|Table|Parameter)"
)
_console = Console(width=160)

INTRODUCTION: Final = """\
# Break a rule, and see which test notices

Each row breaks one rule of [semantics](semantics.md) or one promise or check of the
[delivery contract](delivery-contract.md) in one place of the code, and names the test that fails
on it. `make break` does so in copies of the checkout, one row at a time, after it has seen every
one of these tests pass there, and fails when a break goes unnoticed; `make break RULE=C5` does it
for one rule. To do it by hand, make the change in the file that the row names (the exact text
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
        lines = re.findall(r"^E +(.*)", self.output, re.MULTILINE)
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
        path = self.root / entry.file
        whole = path.read_text("utf-8")
        path.write_text(broken_text(entry, whole), "utf-8")
        try:
            ended = self._pytest(entry.test)
        finally:
            path.write_text(whole, "utf-8")
        output = ended.stdout + ended.stderr
        return Outcome(is_caught(ended.returncode, output), output)

    def _pytest(self, *tests: str) -> "subprocess.CompletedProcess[str]":
        return self._python("-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", *tests)

    def _python(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        # Compiled code is told by second and size: what was broken a moment ago could pass for it.
        environment = os.environ | {"PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1"}
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


def in_copies(copies: Sequence[Copy], entries: Sequence[Break]) -> Iterator[Outcome]:
    """Outcomes in the order of the entries; as many at once as there are copies."""
    free: SimpleQueue[Copy] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def run(entry: Break) -> Outcome:
        copy = free.get()
        try:
            return copy.catches(entry)
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


def break_rules(entries: Sequence[Break]) -> bool:
    """Breaks one after the other and prints what became of it; whether every break was caught."""
    copies = [Copy(WORKPLACE / str(number)) for number in range(1, COPIES + 1)]
    tests = list(dict.fromkeys(entry.test for entry in entries))
    _console.print(f"{len(tests)} tests while nothing is broken ...")
    if not all_pass(copies, tests):
        _console.print("[red]these must pass before anything is broken")
        return False
    table = Table("rule", "what was broken", "caught by")
    missed: list[tuple[Break, Outcome]] = []
    for entry, outcome in zip(entries, in_copies(copies, entries), strict=True):
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


def page() -> str:
    """The text of docs/broken-rules.md."""
    rows = [("rule", "what is broken", "in", "caught by"), ("---",) * 4]
    rows += [(entry.rule, entry.broken, f"`{entry.file}`", f"`{entry.test}`") for entry in BREAKS]
    return INTRODUCTION + "\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="proof.break_rules", description=__doc__)
    parser.add_argument("--rule", help="such as C5, R4, Manifest, ratings_ledger or invariant-2")
    parser.add_argument("--table", action="store_true", help="write docs/broken-rules.md only")
    options = parser.parse_args()
    if options.table:
        PAGE.write_text(page(), "utf-8")
        return 0
    wanted = [entry for entry in BREAKS if options.rule in (None, entry.rule)]
    if not wanted:
        known = ", ".join(dict.fromkeys(entry.rule for entry in BREAKS))
        parser.error(f"expected one of {known}, got {options.rule}")
    return 0 if break_rules(wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
