"""The benchmark suite still runs and still checks its results; nothing here is timed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from benchmarks import report
from benchmarks.checks import WrongResultError, check
from benchmarks.measures import Measure, at_least, at_most
from benchmarks.rows import ROWS
from benchmarks.rows.hour import HOUR
from benchmarks.stage import Stage
from benchmarks.worlds import Fleet

# Airflow takes most of a minute to start; of that row only the DAG is looked at.
CHEAP = sorted(set(ROWS) - {"airflow"})

ROOT = Path(__file__).resolve().parents[1]
# In a process of its own: Airflow reads its configuration when it is imported.
PRINT_SHAPE = """
import gc, json, runpy, sys
from airflow.sdk import DAG
loaded = runpy.run_path(sys.argv[1])
(dag,) = [each for each in gc.get_objects() if type(each) is DAG]
print(json.dumps({
    name: [sorted(task.upstream_task_ids), task.pool, task.trigger_rule, task.is_mapped]
    for name, task in dag.task_dict.items()
}))
"""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


@pytest.mark.parametrize("row", CHEAP)
def test_a_row_measures_something_and_its_results_are_right(stage: Stage, row: str) -> None:
    measures = ROWS[row](stage, "tiny")
    assert measures
    for measure in measures:
        assert measure.scaled
        assert all(value >= 0 for value in (*measure.values, *measure.ratios))
    assert any(measure.met is not None for measure in measures)


def test_the_empty_tasks_have_the_shape_of_the_real_ones(tmp_path: Path) -> None:
    def shape(path: Path) -> dict[str, object]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")}
        path_to_plugins = {"AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "plugins")}
        done = subprocess.run(
            [sys.executable, "-c", PRINT_SHAPE, path],
            env=environment | path_to_plugins,
            capture_output=True,
            text=True,
            check=True,
        )
        shape: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
        return shape

    ours = shape(ROOT / "dags/collect_and_rate.py")
    assert shape(ROOT / "benchmarks/empty_tasks.py") == ours


def test_a_wrong_amount_is_noticed(stage: Stage) -> None:
    fleet = Fleet(stage.worlds, "wrong", range(3))
    fleet.serve([HOUR])
    with stage.database() as url:
        stage.run(url, [stage.source(fleet)], [HOUR])
        check(url, fleet.expected)
        with psycopg.connect(url) as connection:
            connection.execute(
                "update billing_core.facts set included_quantity = included_quantity - 1"
                " where ctid = (select min(ctid) from billing_core.facts)"
            )
        with pytest.raises(WrongResultError, match="usage of"):
            check(url, fleet.expected)


def test_the_server_keeps_its_promises(stage: Stage) -> None:
    assert {stage.facts[name] for name in ("fsync", "synchronous_commit", "full_page_writes")} == {
        "on"
    }


def test_goals_are_for_medians() -> None:
    good = Measure("a", "s", [1, 2, 9], ratios=[1.0, 1.1, 5.0], goal=at_most(2))
    assert (good.median, good.ratio, good.met) == (2, 1.1, True)
    both = Measure("a", "s", [1, 2, 9], [1.0], goal=at_most(2), ratio_goal=at_least(1.5))
    assert both.met is False
    assert Measure("a", "s", [1]).met is None


def test_a_stored_result_can_be_compared_with(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def made(value: float) -> tuple[dict[str, object], list[Measure]]:
        measures = [Measure("speed", "samples/s", [value], goal=at_least(100))]
        facts = stage.facts
        return report.result({"hour": measures}, {}, "tiny", report.machine(), facts, 1), measures

    earlier = report.store(made(100)[0], "test", tmp_path)
    assert json.loads(earlier.read_text())["measures"][0]["met"] is True
    report.show(*made(150), earlier)
    assert "+50%" in capsys.readouterr().out
