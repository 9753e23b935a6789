"""`make mutate`: breaks the pure rooms in one place at a time and asks whether the tests notice.

mutmut makes the mutants and runs the tests that `[tool.mutmut]` in pyproject.toml names. It works
on a copy in .data/mutation, so the checkout stays as it is; there, `mutmut show NAME` shows a
mutant. Every mutant that survives must be in survivors.toml with its reason. Constants and
defaults of fields are not mutated: mutmut changes what functions do.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst as cst

ROOT = Path(__file__).resolve().parents[2]
WORKPLACE = ROOT / ".data" / "mutation"
SURVIVORS = Path(__file__).with_name("survivors.toml")
LEAST_KILLED_PERCENT = 90
DEAD = ("killed", "timeout", "segfault")


@dataclass(frozen=True, slots=True)
class Change:
    """A mutant as survivors.toml names it: numbers of mutants move whenever code changes."""

    function: str
    was: str
    becomes: str

    def __str__(self) -> str:
        return f"{self.function}\n    was     {self.was}\n    becomes {self.becomes}"


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    module: str
    status: str
    change: Change


class _WithoutDecorators(cst.CSTTransformer):
    """mutmut leaves decorated functions alone; properties and cached functions hold rules too.

    A property becomes a function and an assignment, which says the same. A cache is dropped: it
    would remember what another mutant answered.
    """

    def leave_FunctionDef(
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.BaseStatement | cst.FlattenSentinel[cst.BaseStatement]:
        decorators = [
            cst.Module([]).code_for_node(each).strip() for each in updated_node.decorators
        ]
        plain = updated_node.with_changes(decorators=[])
        name = updated_node.name.value
        if decorators == ["@property"]:
            return cst.FlattenSentinel([plain, cst.parse_statement(f"{name} = property({name})")])
        return plain if any("lru_cache" in text for text in decorators) else updated_node


def prepare(mutated: list[str], read_by_tests: list[str]) -> None:
    """A copy of the checkout in which mutmut can reach every function."""
    shutil.rmtree(WORKPLACE, ignore_errors=True)
    for folder in ("billing_etl", "tests", *read_by_tests):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, WORKPLACE / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", WORKPLACE)
    for path in (path for pattern in mutated for path in WORKPLACE.glob(pattern)):
        module = cst.parse_module(path.read_text("utf-8"))
        path.write_text(module.visit(_WithoutDecorators()).code, "utf-8")


def mutants() -> Iterator[Mutant]:
    """Every mutant and what became of it, as mutmut left it in the workplace."""
    # mutmut reads its configuration from the working directory when it is imported.
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code
    from mutmut.utils.file_utils import walk_mutatable_files
    from mutmut.utils.format_utils import orig_function_and_class_names_from_key

    for path in sorted(walk_mutatable_files()):
        results = SourceFileMutationData(path=path)
        results.load()
        module = ".".join(path.with_suffix("").parts[1:])
        for name, exit_code in results.exit_code_by_key.items():
            status = status_by_exit_code[exit_code]
            function, owner = orig_function_and_class_names_from_key(name)
            place = ".".join(part for part in (module, owner, function) if part)
            diff = "" if status in DEAD else get_diff_for_mutant(name, path=path)
            yield Mutant(name, module, status, _change(place, diff))


def _change(function: str, diff: str) -> Change:
    lines = diff.splitlines()[2:]
    was, becomes = (
        " ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"
    )
    return Change(function, was, becomes)


def explained() -> set[Change]:
    """The survivors that have a reason."""
    entries = tomllib.loads(SURVIVORS.read_text("utf-8"))["survivor"]
    assert all(entry["why"] for entry in entries), f"{SURVIVORS.name}: a reason is missing"
    return {
        Change(entry["function"], entry["was"], becomes)
        for entry in entries
        for becomes in entry["becomes"]
    }


def report(found: list[Mutant]) -> bool:
    """Prints counts per module and what survived; whether that is good enough."""
    checked = [mutant for mutant in found if mutant.status != "not checked"]
    by_module: dict[str, Counter[str]] = {}
    for mutant in checked:
        counts = by_module.setdefault(mutant.module, Counter())
        counts["timeout" if mutant.status == "timeout" else _fate(mutant)] += 1
    print(f"{'module':28} {'killed':>8} {'survived':>8} {'timeout':>8} {'share':>8}")
    for module, counts in by_module.items():
        print(_row(module, counts))
    together = sum(by_module.values(), Counter[str]())
    print(_row("together", together))

    listed = explained()
    survived = {mutant.change: mutant for mutant in checked if mutant.status not in DEAD}
    unknown = [mutant for change, mutant in survived.items() if change not in listed]
    for mutant in unknown:
        print(f"\n{mutant.status}, not in {SURVIVORS.name}: {mutant.name}\n  {mutant.change}")
    for change in listed - survived.keys() if len(checked) == len(found) else ():
        print(f"\nno longer survives, take it out of {SURVIVORS.name}:\n  {change}")
    share = _percent(together)
    print(
        f"\n{share:.1f} % of {together.total()} mutants died, at least {LEAST_KILLED_PERCENT} % "
        f"must; {together['survived']} survived, {len(unknown)} of them without a reason, "
        f"{len(found) - len(checked)} were not checked"
    )
    return not unknown and share >= LEAST_KILLED_PERCENT


def _fate(mutant: Mutant) -> str:
    return "killed" if mutant.status in DEAD else "survived"


def _percent(counts: Counter[str]) -> float:
    return 100 * (counts.total() - counts["survived"]) / max(counts.total(), 1)


def _row(name: str, counts: Counter[str]) -> str:
    numbers = " ".join(f"{counts[fate]:8}" for fate in ("killed", "survived", "timeout"))
    return f"{name:28} {numbers} {_percent(counts):7.1f}%"


def main() -> int:
    """Arguments go to `mutmut run`: names of mutants such as 'billing_etl.hours.*'."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mutmut"]
    prepare(settings["only_mutate"], settings["also_copy"])
    os.chdir(WORKPLACE)
    ended = subprocess.run([sys.executable, "-m", "mutmut", "run", *sys.argv[1:]], check=False)
    if ended.returncode:
        return ended.returncode
    found = list(mutants())
    is_interrupted = not sys.argv[1:] and any(each.status == "not checked" for each in found)
    return 0 if report(found) and not is_interrupted else 1


if __name__ == "__main__":
    sys.exit(main())
