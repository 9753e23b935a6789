"""Airflow on this machine: four components as children of this process, on LocalExecutor.

Nothing of Airflow is imported here: commands are started, and its REST API is asked.
"""

import json
import os
import secrets
import sys
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from billing_etl.local.airflow_api import AirflowApi

USER: Final = "admin"
HOST: Final = "127.0.0.1"
PROJECT: Final = Path(__file__).resolve().parents[2]

# Each task is a process: four of them fill two cores and 1.1 GB.
_PARALLELISM: Final = 4


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

    def commands(self) -> dict[str, list[str]]:
        """The command of each component; logs of tasks are read from disk, not served."""
        return {
            "api-server": _airflow("api-server", "--host", HOST, "--port", str(self.port)),
            "scheduler": _airflow("scheduler", "--skip-serve-logs"),
            "dag-processor": _airflow("dag-processor"),
            "triggerer": _airflow("triggerer", "--skip-serve-logs"),
        }

    def migrate_command(self) -> list[str]:
        """Brings Airflow's own database up to date; to be run before the components start."""
        return _airflow("db", "migrate")

    def environment(self) -> dict[str, str]:
        """The whole environment of every component and of ``migrate_command``."""
        made = self._secrets()
        passwords = self.home / "passwords.json"
        _write_private(passwords, json.dumps({USER: made["password"]}))
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
            "DATABASE": {"SQL_ALCHEMY_CONN": _sqlalchemy_url(self.metadata_url)},
            "API": {"BASE_URL": self.url, "SECRET_KEY": made["secret_key"]},
            "API_AUTH": {"JWT_SECRET": made["jwt_secret"]},
            # A run on this machine should be quick to watch: shorter pauses than in production.
            "SCHEDULER": {"SCHEDULER_IDLE_SLEEP_TIME": "0.5"},
            "DAG_PROCESSOR": {"MIN_FILE_PROCESS_INTERVAL": "15", "REFRESH_INTERVAL": "15"},
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
            _write_private(path, json.dumps(made))
        stored: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        return stored


def _airflow(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "airflow", *arguments]


def _sqlalchemy_url(url: str) -> str:
    """The same address with psycopg 3 named as the driver."""
    return f"postgresql+psycopg://{url.split('://', 1)[1]}"


def _write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, whole or not at all."""
    draft = path.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
