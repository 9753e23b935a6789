"""What every step of the pipeline needs: settings, connections, and a run record."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from billing_etl.settings import Settings
from billing_etl.store import database, runs


@dataclass(frozen=True, slots=True)
class Engine:
    """Settings plus the ways to reach the database; built by the CLI, a DAG task or a test.

    Attributes:
        external_id: what started the run; kept in the run records. Of a step of a job it is
            ``<job> <run of the job> <step>``, none of which holds a space.
    """

    settings: Settings
    external_id: str | None = None
    _connections: database.Connections = field(
        default_factory=database.Connections, init=False, repr=False, compare=False
    )

    @property
    def database_url(self) -> str:
        return self.settings.require_database_url()

    def connect(self) -> AbstractContextManager[database.Connection]:
        return self._connections.connect(self.database_url)

    def kept(self) -> AbstractContextManager[None]:
        """Within the block one run after the other may get the same connection again."""
        return self._connections.kept()

    @contextmanager
    def run(self, command: str, hours: object | None = None) -> Iterator[runs.Run]:
        """Records a run; what connects within it may get the same connection again."""
        label = None if hours is None else str(hours)
        with (
            self.kept(),
            runs.recorded_run(self.connect, command, label, self.external_id) as run,
        ):
            yield run
