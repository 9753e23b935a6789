"""What Airflow's processes import, and when: a task that starts with it all in memory is short."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LARGE = ["boto3", "numpy"]


def imported_by(statements: str) -> list[str]:
    """Which large modules a fresh process holds after these statements."""
    script = f"{statements}\nimport sys\nprint([name for name in {LARGE} if name in sys.modules])"
    finished = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'plugins'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=True,
    )
    modules: list[str] = ast.literal_eval(finished.stdout.splitlines()[-1])
    return modules


START = """
from billing_airflow import preload
class {kind}: pass
preload.on_starting({kind}())
"""


@pytest.mark.usefixtures("airflow")
def test_jobs_of_airflow_import_before_they_fork_and_a_task_leaves_it_at_that() -> None:
    assert imported_by(START.format(kind="Job")) == LARGE
    assert imported_by(START.format(kind="TaskRunnerMarker")) == []


@pytest.mark.usefixtures("airflow")
def test_tasks_that_collect_and_rate_do_without_the_s3_client() -> None:
    assert imported_by("import billing_airflow.tasks") == ["numpy"]
