"""``python -m benchmarks.scaling``: simulates with the stored unit costs and prints the tables.

``--measure`` measures the unit costs first and stores them; ``--parts`` some of them only.
``--check`` holds the model against real runs of ``--sources`` sources, one hour each; with
``--tiny`` they serve as little as a source can, so that ten thousand of them run within minutes.
``--write`` puts what is printed into its places in ``docs/scaling.md``.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.scaling import check, unit_costs, views
from benchmarks.scaling.costs import STORED, UnitCosts, load, store
from benchmarks.scaling.load import Load
from benchmarks.scaling.tables import Table, measured_on, put, say, show
from benchmarks.stage import Stage

# The two kinds of sources that the plan is made for: few accounts that are all active, and the
# typical hour of the benchmark.
KINDS = {"small": Load(), "large": Load(accounts=2500, active=0.1)}


def main() -> int:
    arguments = _arguments()
    if arguments.measure:
        _measure(arguments.parts)
    costs, about = load()
    about_line = measured_on(about)
    numbers = views.unit_numbers(costs)
    say(f"unit costs: {about_line}; {numbers}")
    if arguments.check:
        tables = iter([_check(costs, arguments)])
    else:
        tables = _tables(costs, about["machine"]["cores"], arguments.sources)
        if arguments.write:
            put("when", f"Unit costs: {about_line}. Beside the table: {numbers}.\n")
    for table in tables:
        show(table)
        if arguments.write:
            put(table.name, table.markdown())
    return 0


def _tables(costs: UnitCosts, cores: int, sources: int | None) -> Iterator[Table]:
    kinds = {name: replace(kind, sources=sources or kind.sources) for name, kind in KINDS.items()}
    yield views.unit_costs(costs)
    yield views.capacity_table(costs, KINDS, cores)
    yield views.hour_table(costs, kinds)
    yield views.limit_table(costs, kinds)
    yield views.scenario_table(costs, kinds)
    yield views.storage_table(costs, kinds)


def _measure(parts: list[str]) -> None:
    stored = json.loads(STORED.read_text("utf-8"))["costs"] if STORED.exists() else None
    with Stage() as stage:
        about = unit_costs.about(stage)
        measured = unit_costs.measure(stage, {name: unit_costs.PARTS[name] for name in parts})
    store(unit_costs.complete(measured, stored), about)


def _check(costs: UnitCosts, arguments: argparse.Namespace) -> Table:
    kind = check.TINY if arguments.tiny else check.SMALL
    of_kind = replace(kind, sources=arguments.sources or 200)
    with Stage() as stage:
        results = list(check.collected(stage, costs, of_kind, arguments.slots))
        if arguments.deliver:
            fewer = replace(of_kind, sources=max(1, of_kind.sources // 10))
            results += check.delivered(stage, costs, fewer)
    return views.compared_table(results, "check-tiny" if arguments.tiny else "check")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--measure", action="store_true", help="measure the unit costs first")
    parser.add_argument(
        "--parts",
        type=_parts,
        default=list(unit_costs.PARTS),
        metavar="PART,PART",
        help=f"with --measure some of {', '.join(unit_costs.PARTS)}; the others stay as stored",
    )
    parser.add_argument("--check", action="store_true", help="compare with real runs instead")
    parser.add_argument("--sources", type=int, help="how many; 10,000, with --check 200")
    parser.add_argument("--write", action="store_true", help="also into docs/scaling.md")
    parser.add_argument("--tiny", action="store_true", help="with --check: 12 samples a source")
    parser.add_argument("--deliver", action="store_true", help="with --check: seal and reconcile")
    parser.add_argument(
        "--slots",
        type=lambda text: [int(count) for count in text.split(",")],
        default=list(check.SLOTS),
        metavar="N,N",
        help="with --check: processes side by side",
    )
    return parser.parse_args()


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    unknown = [part for part in parts if part not in unit_costs.PARTS]
    if unknown:
        known = ", ".join(unit_costs.PARTS)
        raise argparse.ArgumentTypeError(f"expected some of {known}, got {unknown}")
    return parts


if __name__ == "__main__":
    sys.exit(main())
