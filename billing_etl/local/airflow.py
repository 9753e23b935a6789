"""Airflow on this machine: four components as children of this process, on LocalExecutor.

Nothing of Airflow is imported here: commands are started, and its REST API is asked.
"""

import json
import os
import secrets
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from billing_etl.errors import TerminalError
from billing_etl.local.airflow_api import POLL_SECONDS, AirflowApi
from billing_etl.local.files import write_private
from billing_etl.local.processes import HOST, ManagedProcess

USER: Final = "admin"
PROJECT: Final = Path(__file__).resolve().parents[2]
# A DAG file bears the name of its DAG.
DAG_IDS: Final = frozenset(path.stem for path in (PROJECT / "dags").glob("*.py"))

# Each task is a process: four of them fill two cores and 1.1 GB.
_PARALLELISM: Final = 4
# The triggerer takes ten seconds to end in order and has nothing to finish.
_STOP_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class LocalAirflow:
    """Where one Airflow of this machine lives and how it is set up.

    Attributes:
        home: its own directory: configuration, logs, secrets (only the owner may read them).
        metadata_url: PostgreSQL database of Airflow itself, ``postgresql://...``.
        port: of the API server and UI, on loopback only.
        task_environment: settings that the tasks see, such as ``DATABASE_URL``.
    """

    home: Path
    metadata_url: str = field(repr=False)
    port: int
    task_environment: Mapping[str, str] = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def password(self) -> str:
        """The password of user ``admin``, made once and kept."""
        return self._secrets()["password"]

    def api(self) -> AirflowApi:
        return AirflowApi(self.url, USER, self.password)

    @contextmanager
    def running(self, timeout_seconds: float = 120) -> Iterator[AirflowApi]:
        """Brings Airflow's own database up to date and runs Airflow until the block ends.

        Every DAG is known, and paused unless an earlier run of this Airflow unpaused it.

        Raises:
            TerminalError: a component ended, or is not healthy after ``timeout_seconds``, or a
                DAG file does not load.
        """
        environment = self.environment()
        started_at = datetime.now(UTC)
        with ExitStack() as stack:
            with self._start("db-migrate", _airflow("db", "migrate"), environment) as migration:
                if migration.wait(timeout_seconds) != 0:
                    raise TerminalError(f"airflow: db migrate failed; see {migration.log}")
            components = {
                name: stack.enter_context(self._start(name, command, environment))
                for name, command in self._commands().items()
            }
            # All are asked before the first is waited for: they end at the same time.
            for component in components.values():
                stack.callback(component.ask_to_stop)
            api = stack.enter_context(self.api())
            self._wait("components", lambda: api.unhealthy(started_at), components, timeout_seconds)
            self._wait("DAGs", lambda: _missing_dags(api, started_at), components, timeout_seconds)
            yield api

    def _commands(self) -> dict[str, list[str]]:
        """The command of each component; logs of tasks are read from disk, not served."""
        return {
            "api-server": _airflow("api-server", "--host", HOST, "--port", str(self.port)),
            "scheduler": _airflow("scheduler", "--skip-serve-logs"),
            "dag-processor": _airflow("dag-processor"),
            "triggerer": _airflow("triggerer", "--skip-serve-logs"),
        }

    def _start(
        self, name: str, command: list[str], environment: Mapping[str, str]
    ) -> ManagedProcess:
        return ManagedProcess(
            command,
            log=self.home / "logs" / f"{name}.log",
            environment=environment,
            grace_seconds=_STOP_SECONDS,
        )

    def _wait(
        self,
        what: str,
        missing: Callable[[], list[str]],
        components: Mapping[str, ManagedProcess],
        timeout_seconds: float,
    ) -> None:
        deadline = time.monotonic() + timeout_seconds
        while left := missing():
            for name, component in components.items():
                if component.exit_code is not None:
                    raise TerminalError(
                        f"airflow: {name} ended with exit code {component.exit_code}; "
                        f"see {component.log}"
                    )
            if time.monotonic() > deadline:
                raise TerminalError(
                    f"airflow: expected all {what} within {timeout_seconds:.0f} s, "
                    f"{', '.join(left)} missing; see {self.home / 'logs'}"
                )
            time.sleep(POLL_SECONDS)

    def environment(self) -> dict[str, str]:
        """The whole environment of every component and of an ``airflow`` command beside them."""
        made = self._secrets()
        passwords = self.home / "passwords.json"
        write_private(passwords, json.dumps({USER: made["password"]}))
        sections = {
            "CORE": {
                "DAGS_FOLDER": str(PROJECT / "dags"),
                "PLUGINS_FOLDER": str(PROJECT / "plugins"),
                "LOAD_EXAMPLES": "False",
                "EXECUTOR": "LocalExecutor",
                "PARALLELISM": str(_PARALLELISM),
                # The one who starts Airflow says when a DAG begins; see AirflowApi.unpause.
                "DAGS_ARE_PAUSED_AT_CREATION": "True",
                "SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
                "SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
                "FERNET_KEY": made["fernet_key"],
                "EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            },
            "DATABASE": {"SQL_ALCHEMY_CONN": sqlalchemy_url(self.metadata_url)},
            "API": {"BASE_URL": self.url, "SECRET_KEY": made["secret_key"]},
            "API_AUTH": {"JWT_SECRET": made["jwt_secret"]},
            # A run on this machine should be quick to watch: shorter pauses than in production.
            # So is taking up what a killed Airflow left unfinished.
            "SCHEDULER": {
                "SCHEDULER_IDLE_SLEEP_TIME": "0.5",
                "SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
                "ORPHANED_TASKS_CHECK_INTERVAL": "10",
                "TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
            },
            "LOGGING": {"BASE_LOG_FOLDER": str(self.home / "logs")},
        }
        configuration = {
            f"AIRFLOW__{section}__{name}": value
            for section, values in sections.items()
            for name, value in values.items()
        }
        # Airflow settings of the caller's shell would mix two installations.
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")
        }
        return (
            inherited
            | dict(self.task_environment)
            | configuration
            | {"AIRFLOW_HOME": str(self.home)}
        )

    def _secrets(self) -> dict[str, str]:
        path = self.home / "secrets.json"
        if not path.exists():
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            made = {
                "password": secrets.token_urlsafe(12),
                "fernet_key": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
                "secret_key": secrets.token_urlsafe(32),
                "jwt_secret": secrets.token_urlsafe(48),
            }
            write_private(path, json.dumps(made))
        stored: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        return stored


def _airflow(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "airflow", *arguments]


def _missing_dags(api: AirflowApi, since: datetime) -> list[str]:
    """DAGs that are not known yet.

    Raises:
        TerminalError: a DAG file does not load.
    """
    if errors := api.import_errors(since):
        raise TerminalError(f"airflow: expected DAG files that load, got {errors[0]}")
    return sorted(DAG_IDS - api.dag_ids())


def sqlalchemy_url(url: str) -> str:
    """The same address with psycopg 3 named as the driver."""
    return f"postgresql+psycopg://{url.split('://', 1)[1]}"
