"""Airflow for tests: a metadata database, the project's DAGs, and runs of them in this process."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dag_runs import TOKEN, Exporters, Runs

from billing_etl.local.airflow import sqlalchemy_url
from billing_etl.local.postgres import EmbeddedPostgres

# Airflow is imported inside fixtures and functions only: it reads its configuration at import.

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def airflow(
    postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Configures Airflow for this process and makes its tables."""
    postgres_server.create_database("airflow")
    metadata_url = sqlalchemy_url(postgres_server.url("airflow"))
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
            patch.delenv(name)
        patch.setenv("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
        patch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(ROOT / "dags"))
        patch.setenv("AIRFLOW__CORE__PLUGINS_FOLDER", str(ROOT / "plugins"))
        patch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
        patch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", metadata_url)
        from airflow.utils.db import initdb

        initdb()
        yield


@pytest.fixture(scope="session")
def dag_bag(airflow: None) -> Any:
    """The DAGs of the project; safe mode would skip files without a word."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(ROOT / "dags"), safe_mode=False)


@pytest.fixture
def runs(airflow: None) -> Runs:
    return Runs(ROOT / "dags")


@pytest.fixture
def exporters(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Exporters]:
    """No source yet; price and quota are those of the worked example."""
    for name, value in {
        "DATABASE_URL": database_url,
        "INTERNAL_SERVICE_TOKEN": TOKEN,
        "PRICE_PER_BYTE": "2",
        "INITIAL_INCLUDED_QUOTA_BYTES": "100",
    }.items():
        monkeypatch.setenv(name, value)
    exporters = Exporters(tmp_path, monkeypatch)
    yield exporters
    exporters.stop()
