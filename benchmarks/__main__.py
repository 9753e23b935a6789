"""``python -m benchmarks``: runs the rows, prints the table, stores the result.

Exit code 0 when every row could be measured and did its work rightly, whether or not its goal was
met; else 1.
"""

import argparse
import sys
import time
import traceback
from pathlib import Path

from benchmarks import report
from benchmarks.measures import Measure, Size
from benchmarks.rows import ROWS, SLOW
from benchmarks.stage import Stage


def main() -> int:
    arguments = _arguments()
    size: Size = "quick" if arguments.quick else "full"
    rows = arguments.rows or [name for name in ROWS if not (arguments.quick and name in SLOW)]
    machine = report.machine()
    started = time.monotonic()
    measures: dict[str, list[Measure]] = {}
    errors: dict[str, str] = {}
    with Stage() as stage:
        for row in rows:
            row_started = time.monotonic()
            print(f"{row} ...", end=" ", file=sys.stderr, flush=True)
            try:
                measures[row] = ROWS[row](stage, size)
            except Exception as error:  # the other rows can still be measured
                traceback.print_exc()
                errors[row] = f"{type(error).__name__}: {error}"
            stage.clear()
            print(f"{time.monotonic() - row_started:.0f} s", file=sys.stderr, flush=True)
    seconds = time.monotonic() - started
    made = report.result(measures, errors, size, machine, stage.facts, seconds)
    report.show(made, [each for of in measures.values() for each in of], arguments.compare)
    name = arguments.name or (size if not arguments.rows else f"{size}-{'-'.join(rows)}")
    print(f"{seconds:.0f} s; stored as {report.store(made, name)}")
    return 1 if errors else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller, within three minutes")
    parser.add_argument(
        "--rows", type=_rows, metavar="ROW,ROW", help=f"some of {', '.join(ROWS)}; else all"
    )
    parser.add_argument("--compare", type=Path, metavar="FILE", help="an earlier result")
    parser.add_argument("--name", help="short name of the stored result")
    return parser.parse_args()


def _rows(text: str) -> list[str]:
    rows = text.split(",")
    unknown = [row for row in rows if row not in ROWS]
    if unknown:
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(ROWS)}, got {unknown}")
    return rows


if __name__ == "__main__":
    sys.exit(main())
