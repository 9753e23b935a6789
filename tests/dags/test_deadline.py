"""A deadline through Airflow's own parts: made with the run, missed, and called as executors do."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from dag_runs import Exporters
from receivers import HttpReceiver, http_receiver


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with http_receiver() as receiver:
        yield receiver


@pytest.fixture
def known_dags(airflow: None, dag_bag: Any) -> None:
    """The DAGs as the scheduler reads them, from the database."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import sync_bag_to_db

    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
    sync_bag_to_db(dag_bag, "dags-folder", None)


def made(run_id: str) -> Any:
    """A run of `reconcile` as the scheduler makes it."""
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    run = trigger_dag(
        "reconcile",
        run_id=run_id,
        run_type=DagRunType.SCHEDULED,
        triggered_by=DagRunTriggeredByType.TIMETABLE,
    )
    assert run is not None
    return run


def test_airflow_calls_what_tells_of_a_late_run(
    known_dags: None,
    exporters: Exporters,
    receiver: HttpReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow.models.deadline import Deadline
    from airflow.sdk.execution_time.callback_supervisor import execute_callback
    from airflow.utils.session import create_session
    from sqlalchemy import select

    connection = {"conn_type": "http", "host": receiver.url}
    monkeypatch.setenv("AIRFLOW_CONN_BILLING_ALERTS", json.dumps(connection))
    run = made("scheduled__late")
    with create_session() as session:
        deadline = session.scalars(select(Deadline).where(Deadline.dagrun_id == run.id)).one()
        assert run.queued_at is not None
        after = (deadline.deadline_time - run.queued_at).total_seconds()
        assert after == pytest.approx(3600, abs=60)
        deadline.handle_miss(session)
        data = dict(deadline.callback.data)
    done, error = execute_callback(
        data["path"], data["kwargs"], Path("reconcile.py"), None, structlog.get_logger("test")
    )
    assert (done, error) == (True, None)
    (document,) = receiver.documents
    assert (document["rule"], document["subject"]) == ("deadline_missed", "reconcile")
    assert document["what"] == "DAG reconcile: run scheduled__late is not done in time"


def test_a_run_that_failed_in_time_can_be_cleared(known_dags: None) -> None:
    from airflow.models.taskinstance import clear_task_instances
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState

    run = made("scheduled__failed")
    with create_session() as session:
        run = session.merge(run)
        run.set_state(DagRunState.FAILED)
        session.flush()
        clear_task_instances(run.get_task_instances(session=session), session)
        assert run.state == DagRunState.QUEUED
