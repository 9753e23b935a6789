"""What Airflow keeps and logs of a run tells no secret: XCom, rendered fields, events, logs."""

import logging
import uuid
from typing import Any

import psycopg
import pytest
from dag_runs import TOKEN, Exporters, Runs
from database_logins import PASSWORD, address, grant, login
from psycopg import sql

from billing_etl.hours import parse_hour
from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.store import roles

__all__ = ["login"]
NOON = parse_hour("2026-04-08T12")
# Airflow keeps what it was given as a connection or variable there, and shows neither in a log.
OWN_STORES = {"connection", "variable"}
WRONG = f"wrong-{uuid.uuid4().hex}"


def metadata(server: EmbeddedPostgres) -> str:
    """Every row of Airflow's own tables but those that are meant to keep secrets."""
    kept: list[str] = []
    with psycopg.connect(server.url("airflow")) as connection:
        tables: list[Any] = connection.execute(
            "select relname from pg_class where relkind = 'r'"
            " and relnamespace = 'public'::regnamespace"
        ).fetchall()
        assert len(tables) > 20
        for (table,) in tables:
            if table not in OWN_STORES:
                query = sql.SQL("select t::text from {} t").format(sql.Identifier(table))
                kept += [row for (row,) in connection.execute(query)]
    return "\n".join(kept)


def test_runs_that_succeed_and_fail_tell_no_secret(
    runs: Runs,
    exporters: Exporters,
    database_url: str,
    login: str,
    postgres_server: EmbeddedPostgres,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    grant(database_url, roles.PIPELINE, login)
    url = address(database_url, login)
    reading = {"collected_at": "2026-04-08T12:00:03Z", "node_id": "n", "env": "prod", "samples": []}
    exporters.add("jp-1", [reading], connection_id="exporter_jp")
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("INTERNAL_SERVICE_TOKEN")
    monkeypatch.setattr("billing_etl.exporter.client.MAX_ATTEMPTS", 1)
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    for database, token, state in (
        (url, TOKEN, "success"),
        (url, WRONG, "failed"),
        (url.replace(PASSWORD, WRONG), TOKEN, "failed"),
    ):
        monkeypatch.setenv("AIRFLOW_CONN_BILLING_DATABASE", database)
        monkeypatch.setenv("AIRFLOW_CONN_EXPORTER_JP", f"http://:{token}@")
        run = runs.hour("collect_and_rate", NOON)
        assert run.state == state
        told += [str(run.tasks), str(run.result("list_sources"))]
    told += [caplog.text, *capfd.readouterr(), metadata(postgres_server)]
    everything = "\n".join(told)
    assert "collect_and_rate" in everything
    for name, secret in {"password": PASSWORD, "token": TOKEN, "wrong one": WRONG}.items():
        assert secret not in everything, name
