"""What every step of the pipeline needs: settings, connections, and a run record."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

from billing_etl.settings import Settings
from billing_etl.store import database, runs


@dataclass(frozen=True, slots=True)
class Engine:
    """Settings plus the ways to reach the database; built by the CLI, a DAG task or a test.

    Attributes:
        external_id: what started the run, such as an Airflow run id; kept in the run records.
    """

    settings: Settings
    external_id: str | None = None

    @property
    def database_url(self) -> str:
        return self.settings.require_database_url()

    def connect(self) -> AbstractContextManager[database.Connection]:
        return database.connect(self.database_url)

    def run(self, command: str, hours: object | None = None) -> AbstractContextManager[runs.Run]:
        label = None if hours is None else str(hours)
        return runs.recorded_run(self.database_url, command, label, self.external_id)
