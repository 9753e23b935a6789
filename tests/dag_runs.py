"""Runs of DAGs in this process, and exporters for them to collect from."""

import json
from pathlib import Path
from typing import Any

import pytest

from billing_etl.hours import Hour
from billing_etl.local.exporter_server import ExporterServer

TOKEN = "exporter-token"


class Runs:
    """Runs DAGs in this process and tells what became of their tasks."""

    def __init__(self, dags_folder: Path) -> None:
        self._dags_folder = dags_folder

    def hour(self, dag_id: str, hour: Hour, **params: Any) -> "Run":
        """Runs over one data interval; Airflow takes the interval before a manual logical date."""
        return self._run(dag_id, logical_date=hour.end, run_conf=params)

    def with_params(self, dag_id: str, **params: Any) -> "Run":
        """Runs as a manual trigger with Params and without a date does."""
        return self._run(dag_id, run_conf=params)

    def _run(self, dag_id: str, **arguments: Any) -> "Run":
        from airflow.dag_processing.dagbag import DagBag

        # Read anew each time: a run in this process leaves its Params in the DAG object.
        dags = DagBag(str(self._dags_folder / f"{dag_id}.py"), safe_mode=False).dags
        dag = dags[dag_id]
        dag.deadline = None  # a test run of a DAG that has one crashes in Airflow 3.3.2
        return Run(dag.test(**arguments))


class Run:
    """A run that has ended."""

    def __init__(self, dag_run: Any) -> None:
        self._dag_run = dag_run
        self.state = str(dag_run.state)

    @property
    def tasks(self) -> dict[str, str]:
        """State by task; a mapped task has its name in the UI behind its id."""
        return {
            f"{task.task_id} {task.rendered_map_index or ''}".strip(): str(task.state)
            for task in self._dag_run.get_task_instances()
        }

    def result(self, task_id: str, key: str = "return_value") -> Any:
        """What a task returned or pushed."""
        return self._dag_run.get_task_instance(task_id).xcom_pull(task_ids=task_id, key=key)


class Exporters:
    """Exporters that serve what a test writes, and the settings that name them as sources."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        self._patch = patch
        self._servers: list[ExporterServer] = []
        self._sources: list[dict[str, Any]] = []

    def add(self, source_id: str, snapshots: list[dict[str, Any]], **source: Any) -> None:
        """Serves the snapshots from now on and adds the source to the settings."""
        self.serve(source_id, snapshots)
        server = ExporterServer(self._store(source_id), "127.0.0.1:0", TOKEN)
        server.__enter__()
        self._servers.append(server)
        self._sources.append({"source_id": source_id, "base_url": server.base_url} | source)
        self._patch.setenv("EXPORTER_SOURCES_JSON", json.dumps(self._sources))

    def serve(self, source_id: str, snapshots: list[dict[str, Any]]) -> None:
        """Replaces what an exporter serves."""
        draft = self._directory / "draft.json"
        draft.write_text(json.dumps(snapshots))
        draft.replace(self._store(source_id))

    def stop(self) -> None:
        for server in self._servers:
            server.__exit__(None, None, None)

    def _store(self, source_id: str) -> Path:
        return self._directory / f"{source_id}.json"
