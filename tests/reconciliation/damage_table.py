"""`make damage`: damages hours in every known way; prints, and writes to the page, what became.

    PYTHONPATH=tests python -m reconciliation.damage_table

The tests do the work, on real services; this gathers the rows that they make.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "reconciliation.md"
HEAD: Final = "| damage | found by | finding | repair |\n| --- | --- | --- | --- |\n"


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        gathered = Path(directory) / "rows"
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "tests/reconciliation/test_damage.py",
                "-k",
                "safe",
            ],
            env=os.environ | {"DAMAGE_ROWS": str(gathered)},
            cwd=ROOT,
            check=False,
            stdout=sys.stderr,
        )
        rows = gathered.read_text("utf-8") if gathered.exists() else ""
    sys.stdout.write(HEAD + rows)
    if done.returncode == 0:
        PAGE.write_text(_with_table(PAGE.read_text("utf-8"), HEAD + rows), "utf-8")
    return done.returncode


def _with_table(page: str, table: str) -> str:
    before, _, after = page.partition(HEAD)
    rest = after.splitlines(keepends=True)
    while rest and rest[0].startswith("|"):
        rest.pop(0)
    return before + table + "".join(rest)


if __name__ == "__main__":
    sys.exit(main())
