"""Jobs as runs of DAGs, triggered in the API server as its own REST API does it."""

import hashlib
import json
from typing import Any, Final
from urllib.parse import quote

from airflow.api.common.trigger_dag import trigger_dag
from airflow.exceptions import DagNotFound, DagRunAlreadyExists, ParamValidationError
from airflow.models import DagModel, DagRun, TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from billing_airflow.context import DRY_RUN_KEY
from billing_etl.errors import UsageError
from billing_etl.http.runner import JobUnderWayError, RunState, UnknownJobError
from billing_etl.pipeline.jobs import JobRequest

_ENDED: Final = {"success", "failed"}


class DagJobs:
    """Runs jobs as DAG runs; see ``JobRunner``. A job is named as its DAG.

    The id of a run is made of what is asked for, and a number. Whoever asks for the same at the
    same moment makes the same id, and Airflow keeps ids unique: one of them is refused.
    """

    def start(self, request: JobRequest, caller: str) -> str:
        """See ``JobRunner``."""
        params = _params(request)
        with create_session() as session:
            _dag(session, request.job)
            stem = _stem(request)
            last = session.scalar(
                select(DagRun)
                .where(
                    DagRun.dag_id == request.job, DagRun.run_id.startswith(stem, autoescape=True)
                )
                # One that has not ended goes first: an older one may have been cleared.
                .order_by(DagRun.state.in_(_ENDED), DagRun.id.desc())
                .limit(1)
            )
            if last is not None and last.state not in _ENDED:
                raise JobUnderWayError(last.run_id)
            run_id = f"{stem}{_number(last, stem) + 1}"
        try:
            trigger_dag(
                request.job,
                triggered_by=DagRunTriggeredByType.REST_API,
                triggering_user_name=caller,
                run_id=run_id,
                conf=params,
            )
        except DagNotFound:
            raise _unknown(request.job) from None
        except (DagRunAlreadyExists, IntegrityError):
            raise JobUnderWayError(run_id) from None
        except (ParamValidationError, ValueError) as error:
            raise UsageError(str(error).splitlines()[0]) from error
        return run_id

    def state(self, job: str, run_id: str) -> RunState | None:
        """See ``JobRunner``."""
        with create_session() as session:
            run = session.scalar(
                select(DagRun).where(DagRun.dag_id == job, DagRun.run_id == run_id)
            )
            if run is None:
                return None
            if run.state == "success":
                return RunState("success", would_change=_would_change(session, run))
            if run.state == "failed":
                note = f"see the logs of its tasks in Airflow: /dags/{job}/runs/{run_id}"
                return RunState("failed", note, _would_change(session, run))
            if _dag(session, job).is_paused:
                return RunState("queued", f"it waits as DAG {job} is paused; switch it on")
            return RunState("running" if run.state == "running" else "queued")

    def run_link(self, job: str, run_id: str) -> str:
        """See ``JobRunner``."""
        return f"/dags/{quote(job, safe='')}/runs/{quote(run_id, safe='{}')}"

    def log_link(self, external_id: str) -> str | None:
        """See ``JobRunner``. The page of a task shows its log; the step is `collect[2]` of many.

        By its index, as Airflow does not know the name of a task that is about to try again.
        """
        dag_id, _, rest = external_id.partition(" ")
        run_id, _, step = rest.partition(" ")
        task_id, _, index = step.removesuffix("]").partition("[")
        with create_session() as session:
            known = session.scalars(
                select(TaskInstance.map_index).where(
                    TaskInstance.dag_id == dag_id,
                    TaskInstance.run_id == run_id,
                    TaskInstance.task_id == task_id,
                )
            ).all()
        if not known:  # of a command line, or the run was deleted
            return None
        link = self.run_link(dag_id, run_id)
        if (int(index) if index else -1) not in known:
            return link
        link = f"{link}/tasks/{quote(task_id, safe='')}"
        return f"{link}/mapped/{index}" if index else link


def _would_change(session: Session, run: DagRun) -> dict[str, Any] | None:
    """What the task `report` of a dry run found; None of another run."""
    if not (run.conf or {}).get("dry_run"):
        return None
    found = session.execute(
        select(XComModel.value).where(
            XComModel.dag_id == run.dag_id,
            XComModel.run_id == run.run_id,
            XComModel.task_id == "report",
            XComModel.key == DRY_RUN_KEY,
        )
    ).one_or_none()
    summary: dict[str, Any] | None = None if found is None else XComModel.deserialize_value(found)
    return summary


def _number(last: DagRun | None, stem: str) -> int:
    if last is None:
        return 0
    number = last.run_id.removeprefix(stem)
    # Someone may have named a run by hand; the number of its row is at least as high.
    return int(number) if number.isdecimal() else int(last.id)


def _dag(session: Session, dag_id: str) -> DagModel:
    dag = session.get(DagModel, dag_id)
    if dag is None or dag.is_stale:
        raise _unknown(dag_id)
    return dag


def _unknown(dag_id: str) -> UnknownJobError:
    return UnknownJobError(
        f"expected a DAG {dag_id}, got none; is the dag-processor running, and does its file load?"
    )


def _params(request: JobRequest) -> dict[str, Any]:
    params: dict[str, Any] = {}
    if request.hours is not None:
        params |= {"from_hour": str(request.hours.start), "to_hour": str(request.hours.end)}
    if request.sources:
        params["sources"] = list(request.sources)
    if request.dry_run:
        params["dry_run"] = True
    return params


def _stem(request: JobRequest) -> str:
    """How the ids of all runs of the same request begin, such as ``http__2026-04-08T12_...``."""
    hours = "due" if request.hours is None else f"{request.hours.start}_{request.hours.end}"
    digest = hashlib.sha256(json.dumps(sorted(request.sources)).encode()).hexdigest()[:12]
    kind = "dry_run__" if request.dry_run else ""
    return f"http__{kind}{hours}__{digest if request.sources else 'all'}__"
