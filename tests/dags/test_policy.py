"""What holds for every DAG of the project."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DAG_IDS = {
    "collect_and_rate", "collect_running_hour", "export_hourly", "maintenance", "reconcile",
    "watch",
}  # fmt: skip
EACH_DAG = pytest.mark.parametrize("dag_id", sorted(DAG_IDS))


@pytest.fixture
def dag(dag_bag: Any, dag_id: str) -> Any:
    return dag_bag.dags[dag_id]


def test_exactly_these_dags_load_without_an_error(dag_bag: Any) -> None:
    assert dag_bag.import_errors == {}
    assert set(dag_bag.dags) == DAG_IDS


def test_a_file_bears_the_name_of_its_dag_and_stays_small() -> None:
    files = {path.stem: len(path.read_text("utf-8").splitlines()) for path in _dag_files()}
    assert set(files) == DAG_IDS
    assert {name: lines for name, lines in files.items() if lines > 80} == {}


def _dag_files() -> Iterator[Path]:
    return (ROOT / "dags").glob("*.py")


@pytest.mark.parametrize(
    ("dag_id", "tasks"),
    [
        ("collect_and_rate", {"list_sources", "collect", "rate", "report"}),
        ("collect_running_hour", {"list_sources", "collect", "rate", "report"}),
        ("export_hourly", {"wait_until_ready", "deliver"}),
        ("maintenance", {"partitions", "archive", "retention", "arrears"}),
        ("reconcile", {"wait_until_ready", "check"}),
        ("watch", {"look"}),
    ],
)
def test_a_dag_has_exactly_these_tasks(dag: Any, tasks: set[str]) -> None:
    assert set(dag.task_ids) == tasks


@EACH_DAG
def test_the_docstring_is_the_operators_page(dag: Any, dag_id: str) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / "dags" / f"{dag_id}.py").read_text("utf-8")))
    assert inspect.cleandoc(dag.doc_md) == docstring
    for topic in ("**Runs**", "**Params**", "**Retry", "ackfill", "**Catchup**"):
        assert topic in dag.doc_md


@EACH_DAG
def test_every_param_is_on_the_operators_page(dag: Any) -> None:
    assert [name for name in dag.params if f"`{name}`" not in dag.doc_md] == []


@EACH_DAG
def test_a_dag_can_be_found_and_has_an_owner(dag: Any) -> None:
    assert "billing" in dag.tags
    assert {task.owner for task in dag.tasks} == {"billing"}
    assert dag.description


@EACH_DAG
def test_every_task_tries_again_with_growing_pauses_and_ends_some_day(dag: Any) -> None:
    for task in dag.tasks:
        assert task.retries == 2
        assert task.retry_exponential_backoff
        assert task.retry_delay < task.max_retry_delay
        assert task.execution_timeout is not None


@EACH_DAG
def test_catchup_is_said_outright(dag: Any, dag_id: str) -> None:
    arguments = _dag_arguments(ROOT / "dags" / f"{dag_id}.py")
    assert {"catchup", "max_active_runs", "schedule", "start_date"} <= arguments
    assert dag.catchup is False


@EACH_DAG
def test_someone_is_told_when_a_run_fails(dag: Any, dag_id: str) -> None:
    assert dag.on_failure_callback.__name__ == "tell_failure"
    # `watch` runs all the time: what ends its alert is itself.
    end = getattr(dag.on_success_callback, "__name__", None)
    assert end == (None if dag_id == "watch" else "tell_success")


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS - {"watch"}))
def test_someone_is_told_when_a_scheduled_run_is_late(dag: Any) -> None:
    (alert,) = dag.deadline
    assert alert.interval.total_seconds() == 3600
    assert type(alert.reference).__name__ == "RunCreated"
    assert alert.callback.path == "billing_airflow.policy.tell_late"


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("off", None), ("soon", 3600), (None, 3600)]
)
def test_the_deadline_is_a_setting(
    airflow: None, monkeypatch: pytest.MonkeyPatch, text: str | None, seconds: int | None
) -> None:
    from billing_airflow.policy import told

    monkeypatch.delenv("BILLING_ALERT_DEADLINE", raising=False)
    if text is not None:
        monkeypatch.setenv("BILLING_ALERT_DEADLINE", text)
    deadline = told().get("deadline")
    assert (deadline.interval.total_seconds() if deadline else None) == seconds


@EACH_DAG
def test_a_run_that_waits_for_the_step_before_holds_up_no_other(dag: Any) -> None:
    waits = dag.has_task("wait_until_ready")
    assert dag.max_active_runs == (2 if waits else 1)


def _dag_arguments(path: Path) -> set[str]:
    """The keyword arguments that the file itself gives to ``DAG``."""
    calls = [
        node
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "DAG"
    ]
    (call,) = calls
    return {keyword.arg for keyword in call.keywords if keyword.arg}


@EACH_DAG
def test_the_first_hour_is_fixed_and_before_any_data(dag: Any) -> None:
    # A run before it would "succeed" without a task.
    assert dag.start_date.isoformat() == "2020-01-01T00:00:00+00:00"


NOT_HOURLY = {"collect_running_hour", "maintenance", "watch"}


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS - NOT_HOURLY))
def test_the_data_interval_is_one_hour_in_utc(dag: Any) -> None:
    # A plain cron string would give empty intervals.
    timetable = dag.timetable
    assert type(timetable).__name__ == "CronDataIntervalTimetable"
    assert (timetable.expression, str(timetable.timezone)) == ("0 * * * *", "UTC")


def test_maintenance_runs_once_a_day_and_no_step_waits_for_another(dag_bag: Any) -> None:
    dag = dag_bag.dags["maintenance"]
    assert dag.timetable.expression == "40 2 * * *"
    assert {task.task_id for task in dag.tasks if task.upstream_task_ids} == set()


@pytest.mark.parametrize(
    ("dag_id", "task_id"), [("export_hourly", "deliver"), ("reconcile", "check")]
)
def test_waiting_for_the_step_before_holds_no_slot_and_blocks_nothing(
    dag: Any, task_id: str
) -> None:
    sensor = dag.get_task("wait_until_ready")
    assert sensor.mode == "reschedule"
    assert sensor.timeout < 3600  # less than the time to the next run
    assert sensor.soft_fail
    assert dag.get_task(task_id).trigger_rule == "none_failed"  # also after a skipped wait


@pytest.mark.parametrize(
    ("interval", "seconds"),
    [("15m", 900), ("30s", 30), ("1h", None), (None, None), ("often", None)],
    ids=["15m", "30s", "1h is the ended hour's business", "not set", "malformed"],
)
def test_the_running_hour_is_collected_when_the_interval_is_shorter_than_an_hour(
    airflow: None, monkeypatch: pytest.MonkeyPatch, interval: str | None, seconds: int | None
) -> None:
    from billing_airflow.policy import running_hour_interval

    monkeypatch.delenv("COLLECT_INTERVAL", raising=False)
    if interval is not None:
        monkeypatch.setenv("COLLECT_INTERVAL", interval)
    found = running_hour_interval()
    assert (found.total_seconds() if found else None) == seconds


@pytest.mark.parametrize("dag_id", ["collect_and_rate", "collect_running_hour"])
def test_a_pool_bounds_the_load_on_exporters(dag: Any) -> None:
    pools = {task.task_id: task.pool for task in dag.tasks}
    assert pools.pop("collect") == "billing_exporters"
    assert set(pools.values()) == {"default_pool"}


def test_dag_files_load_without_any_setting(airflow: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.dag_processing.dagbag import DagBag

    from billing_etl.settings import SETTINGS

    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    assert DagBag(str(ROOT / "dags"), safe_mode=False).import_errors == {}


def test_safe_mode_skips_no_file(airflow: None) -> None:
    # Airflow itself parses in safe mode.
    from airflow.dag_processing.dagbag import DagBag

    assert set(DagBag(str(ROOT / "dags"), safe_mode=True).dags) == DAG_IDS
