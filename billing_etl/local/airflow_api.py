"""Asks a running Airflow through its REST API: health, backfills, runs and their states."""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Self, TypeAlias

import httpx

from billing_etl.errors import RetryableError, TerminalError
from billing_etl.hours import Hour, HourRange

Reprocess: TypeAlias = Literal["none", "failed", "completed"]

POLL_SECONDS: Final = 0.5
# On a machine that is busy with other things an answer may take its time.
_ANSWER_SECONDS: Final = 120.0
# Airflow answers a token that is no longer valid with either.
_NOT_ACCEPTED: Final = frozenset({httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN})
_FINAL_STATES: Final = frozenset({"success", "failed"})


@dataclass(frozen=True, slots=True)
class DagRun:
    """One run of a DAG; ``hour`` is the scheduled or backfilled hour, None in a manual run."""

    run_id: str
    state: str
    hour: Hour | None

    @property
    def ended(self) -> bool:
        return self.state in _FINAL_STATES


Progress: TypeAlias = Callable[[list[DagRun]], None]


class _Login(httpx.Auth):
    """Logs in before the first request, and again when the token is not accepted any more."""

    requires_response_body = True

    def __init__(self, user: str, password: str) -> None:
        self._login = {"username": user, "password": password}
        self.token = ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self.token:
            request.headers["Authorization"] = f"Bearer {self.token}"
            response = yield request
            if response.status_code not in _NOT_ACCEPTED:
                return
        answer = yield httpx.Request("POST", request.url.join("/auth/token"), json=self._login)
        if answer.status_code != httpx.codes.CREATED:
            raise TerminalError(
                f"airflow: expected a token for user {self._login['username']}, "
                f"got {answer.status_code}; check the user and the password"
            )
        self.token = answer.json()["access_token"]
        request.headers["Authorization"] = f"Bearer {self.token}"
        yield request


class AirflowApi:
    """A client of one Airflow; ``base_url`` is its address, such as http://127.0.0.1:8080."""

    def __init__(self, base_url: str, user: str, password: str) -> None:
        self.base_url = base_url
        self._auth = _Login(user, password)
        self._http = httpx.Client(
            base_url=base_url, auth=self._auth, timeout=_ANSWER_SECONDS, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def token(self) -> str:
        """A bearer token for the REST API."""
        self._request("GET", "/api/v2/dags", params={"limit": 1})
        return self._auth.token

    def unhealthy(self, since: datetime) -> list[str]:
        """Components that have not been healthy since then; the API server while none answers.

        The heartbeat of a component that has ended counts as health for a while, hence ``since``.
        """
        try:
            answer = self._http.get("/api/v2/monitor/health", auth=None, timeout=5)
        except httpx.TransportError:
            return ["api-server"]
        if answer.status_code != httpx.codes.OK:
            return ["api-server"]
        return [name for name, about in answer.json().items() if not _is_healthy(about, since)]

    def dag_ids(self) -> set[str]:
        """The DAGs that Airflow knows so far."""
        answer = self._request("GET", "/api/v2/dags", params={"limit": 100})
        return {dag["dag_id"] for dag in answer["dags"]}

    def import_errors(self, since: datetime) -> list[str]:
        """DAG files that did not load since then, each with the last line of the reason."""
        answer = self._request("GET", "/api/v2/importErrors")
        return [
            f"{error['filename']}: {error['stack_trace'].strip().splitlines()[-1]}"
            for error in answer["import_errors"]
            if datetime.fromisoformat(error["timestamp"]) >= since
        ]

    def unpause(self, dag_id: str) -> None:
        self._request("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})

    def backfill(
        self,
        dag_id: str,
        hours: HourRange,
        *,
        reprocess: Reprocess = "completed",
        max_active_runs: int = 1,
    ) -> int:
        """Has the scheduler run every hour of the range, oldest first; gives the backfill's id.

        Args:
            dag_id: paused or not; the runs of a paused DAG wait until it is unpaused.
            hours: the data intervals.
            reprocess: which existing runs are repeated: none, failed ones, or all that ended.
            max_active_runs: runs of this backfill at the same time.

        A backfill that an earlier Airflow left unfinished is cancelled: there can be only one.
        """
        self.cancel_backfills(dag_id)
        answer = self._request(
            "POST",
            "/api/v2/backfills",
            json={
                "dag_id": dag_id,
                "from_date": hours.start.start.isoformat(),
                # Airflow includes both ends; a DAG may begin some minutes past the hour.
                "to_date": (hours.end.start - timedelta(seconds=1)).isoformat(),
                "reprocess_behavior": reprocess,
                "max_active_runs": max_active_runs,
            },
        )
        return int(answer["id"])

    def cancel_backfills(self, dag_id: str) -> None:
        """Ends backfills of the DAG; Airflow takes a while to see that all runs of one ended."""
        for earlier in self._request("GET", "/api/v2/backfills", params={"dag_id": dag_id})[
            "backfills"
        ]:
            if earlier["completed_at"] is None:
                self._request("PUT", f"/api/v2/backfills/{earlier['id']}/cancel")

    def trigger(
        self,
        dag_id: str,
        conf: dict[str, Any] | None = None,
        interval: HourRange | None = None,
    ) -> str:
        """Starts a manual run with these Params, or over this data interval; gives its run id."""
        body: dict[str, Any] = {"logical_date": None, "conf": conf or {}}
        if interval is not None:
            # Airflow ignores an interval without a logical date; that has to be a new one.
            body["logical_date"] = datetime.now(UTC).isoformat()
            body["data_interval_start"] = interval.start.start.isoformat()
            body["data_interval_end"] = interval.end.start.isoformat()
        answer = self._request("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)
        return str(answer["dag_run_id"])

    def clear_task(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Has the scheduler run a task of an ended run again, with all that comes after it."""
        body = {
            "dry_run": False,
            "only_failed": False,
            "dag_run_id": run_id,
            "task_ids": [task_id],
            "include_downstream": True,
            "reset_dag_runs": True,
        }
        self._request("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", json=body)

    def run(self, dag_id: str, run_id: str) -> DagRun:
        return _dag_run(self._request("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}"))

    def dag_run_states(self, dag_id: str, hours: HourRange) -> dict[Hour, DagRun]:
        """The runs whose logical date lies in the range."""
        found: dict[Hour, DagRun] = {}
        page, seen = 100, 0
        while True:
            answer = self._request(
                "GET",
                f"/api/v2/dags/{dag_id}/dagRuns",
                params={
                    "logical_date_gte": hours.start.start.isoformat(),
                    "logical_date_lt": hours.end.start.isoformat(),
                    "limit": page,
                    "offset": seen,
                },
            )
            runs = [_dag_run(run) for run in answer["dag_runs"]]
            found |= {run.hour: run for run in runs if run.hour is not None}
            seen += len(runs)
            if len(runs) < page:
                return found

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """State by task; a mapped task counts by its name or index, as ``collect[jp-1 ...]``."""
        answer = self._request(
            "GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances", params={"limit": 1000}
        )
        return {_task_name(task): task["state"] for task in answer["task_instances"]}

    def wait_hours(
        self,
        dag_id: str,
        hours: HourRange,
        timeout_seconds: float,
        progress: Progress | None = None,
    ) -> list[DagRun]:
        """Waits until every hour of the range has a run that ended; gives the runs in order.

        Raises:
            RetryableError: it takes longer than ``timeout_seconds``.
        """

        def look() -> tuple[list[DagRun], bool]:
            runs = self.dag_run_states(dag_id, hours)
            in_order = [runs[hour] for hour in hours if hour in runs]
            return in_order, len(in_order) == len(hours)

        return self._wait(f"{dag_id} {hours}", look, timeout_seconds, progress)

    def wait_run(
        self, dag_id: str, run_id: str, timeout_seconds: float, progress: Progress | None = None
    ) -> DagRun:
        """Waits until a run has ended.

        Raises:
            RetryableError: it takes longer than ``timeout_seconds``.
        """

        def look() -> tuple[list[DagRun], bool]:
            return [self.run(dag_id, run_id)], True

        return self._wait(f"{dag_id} {run_id}", look, timeout_seconds, progress)[0]

    def _wait(
        self,
        what: str,
        look: Callable[[], tuple[list[DagRun], bool]],
        timeout_seconds: float,
        progress: Progress | None,
    ) -> list[DagRun]:
        deadline = time.monotonic() + timeout_seconds
        while True:
            runs, complete = look()
            if progress is not None:
                progress(runs)
            if complete and all(run.ended for run in runs):
                return runs
            if time.monotonic() > deadline:
                states = ", ".join(f"{run.run_id} {run.state}" for run in runs) or "no run"
                raise RetryableError(
                    f"airflow: {what}: expected an end within {timeout_seconds:.0f} s, "
                    f"got {states}; see {self.base_url}"
                )
            time.sleep(POLL_SECONDS)

    def _request(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            answer = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise RetryableError(
                f"airflow: {method} {path}: no answer from {self.base_url} "
                f"({type(error).__name__}); is it running?"
            ) from error
        if answer.is_error:
            raise TerminalError(
                f"airflow: {method} {path}: expected success, got {answer.status_code} "
                f"{answer.text[:300]}"
            )
        return answer.json()


def _is_healthy(about: dict[str, str | None], since: datetime) -> bool:
    """Judges one component; the metadata database has a status but no heartbeat."""
    beats = [value for key, value in about.items() if key.endswith("_heartbeat")]
    return about["status"] == "healthy" and all(
        beat is not None and datetime.fromisoformat(beat) >= since for beat in beats
    )


def _dag_run(run: dict[str, Any]) -> DagRun:
    date = None if run["run_type"] == "manual" else run["logical_date"]
    hour = None if date is None else Hour.of(datetime.fromisoformat(date))
    return DagRun(run["dag_run_id"], run["state"], hour)


def _task_name(task: dict[str, Any]) -> str:
    if task["map_index"] < 0:
        return str(task["task_id"])
    return f"{task['task_id']}[{task['rendered_map_index'] or task['map_index']}]"
