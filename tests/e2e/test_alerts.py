"""Alerts, metrics and a dry run through a real Airflow: callbacks where it really calls them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2e.test_scheduler import PATIENCE_SECONDS, TOKEN, history, served
from receivers import HttpReceiver, StatsdReceiver, http_receiver
from stored_rows import rows
from waiting import wait_until

from billing_etl.hours import Hour, HourRange
from billing_etl.local.airflow import LocalAirflow
from billing_etl.local.airflow_api import AirflowApi
from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.local.processes import free_ports
from billing_etl.settings import SETTINGS

pytestmark = pytest.mark.e2e

SECRET = "s3cr3t-0f-the-webhook"

eventually = partial(wait_until, seconds=PATIENCE_SECONDS, pause_seconds=1)


@dataclass(frozen=True)
class Site:
    """A running Airflow, and who is told."""

    api: AirflowApi
    home: Path
    hours: HourRange
    receiver: HttpReceiver
    statsd: StatsdReceiver

    def told(self, kind: str, rule: str) -> dict[str, Any]:
        """Waits for a notice."""

        def found() -> list[dict[str, Any]]:
            return [
                each
                for each in self.receiver.documents
                if (each["kind"], each["rule"]) == (kind, rule)
            ]

        eventually(lambda: bool(found()))
        return found()[0]


@pytest.fixture
def site(
    postgres_server: EmbeddedPostgres,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    """Airflow with a source of two whole hours; runs are late after five seconds."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    end = Hour.of(datetime.now(UTC))
    hours = HourRange(Hour(end.index - 2), end)
    postgres_server.create_database("airflow_alerts")
    statsd = StatsdReceiver()
    with http_receiver() as receiver, served(history(hours), tmp_path) as exporter:
        source = {"source_id": "jp-1", "base_url": exporter.base_url}
        home = tmp_path / "airflow"
        airflow = LocalAirflow(
            home=home,
            metadata_url=postgres_server.url("airflow_alerts"),
            port=free_ports(1)[0],
            task_environment={
                "DATABASE_URL": database_url,
                "EXPORTER_SOURCES_JSON": json.dumps([source]),
                "INTERNAL_SERVICE_TOKEN": TOKEN,
                "PRICE_PER_BYTE": "2",
                "BILLING_ALERT_DEADLINE": "5s",
                "AIRFLOW__METRICS__STATSD_ON": "True",
                "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
                "AIRFLOW__METRICS__STATSD_PORT": str(statsd.port),
                "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
            },
        )
        with airflow.running(PATIENCE_SECONDS) as api:
            connection = {
                "connection_id": "billing_alerts", "conn_type": "http",
                "host": receiver.url, "password": SECRET,
            }  # fmt: skip
            headers = {"Authorization": f"Bearer {api.token()}"}
            httpx.post(
                f"{api.base_url}/api/v2/connections", json=connection, headers=headers, timeout=30
            ).raise_for_status()
            yield Site(api, home, hours, receiver, statsd)
    statsd.close()


def test_someone_is_told_of_late_and_failed_runs_and_of_what_a_dry_run_finds(
    site: Site, database_url: str
) -> None:
    # The hourly run waits for facts that nobody collects: it is late. The executor's callback may
    # not read the connection and writes the alert; `watch` sends it.
    site.api.unpause("export_hourly")
    eventually(
        lambda: rows(database_url, "select rule from billing.alerts") == [("deadline_missed",)]
    )
    run_id = site.api.trigger("watch")
    site.api.unpause("watch")
    assert site.api.wait_run("watch", run_id, PATIENCE_SECONDS).state == "success"
    late = site.told("opened", "deadline_missed")
    assert late["subject"] == "export_hourly"
    assert "/dags/export_hourly/runs/scheduled__" in late["remedy"]

    # A run that fails at once, and the end of that alert by one that succeeds.
    site.api.unpause("collect_and_rate")
    run_id = site.api.trigger("collect_and_rate", {"sources": ["nobody"]})
    assert site.api.wait_run("collect_and_rate", run_id, PATIENCE_SECONDS).state == "failed"
    failed = site.told("opened", "dag_failed")
    assert (failed["subject"], run_id in failed["what"]) == ("collect_and_rate", True)
    eventually(
        lambda: rows(database_url, "select count(*) > 0 from billing_core.facts") == [(True,)]
    )  # by the scheduled run of the hour

    hours = {"from_hour": str(site.hours.start), "to_hour": str(site.hours.end)}
    run_id = site.api.trigger("collect_and_rate", hours | {"dry_run": True})
    assert site.api.wait_run("collect_and_rate", run_id, PATIENCE_SECONDS).state == "success"
    site.told("resolved", "dag_failed")
    headers = {"Authorization": f"Bearer {site.api.token()}"}
    found = httpx.get(
        f"{site.api.base_url}/api/v2/dags/collect_and_rate/dagRuns/{run_id}"
        "/taskInstances/report/xcomEntries/return_value",
        headers=headers,
        timeout=30,
    ).json()["value"]
    found = json.loads(found) if isinstance(found, str) else found
    # The first of the two hours was not collected: its facts, and they use quota of nobody.
    assert (found["bytes_difference"], found["amount_difference"]) == (1800, "3600")

    run_id = site.api.trigger("watch")
    assert site.api.wait_run("watch", run_id, PATIENCE_SECONDS).state == "success"
    for metric in ("source.lag_seconds", "collect.samples"):
        assert any(
            line.startswith(f"airflow.billing.{metric},source=jp-1:")
            for line in site.statsd.lines()
        ), metric

    assert all(headers["Authorization"] == f"Bearer {SECRET}" for _, headers, _ in
               site.receiver.posts)  # fmt: skip
    logs = [path for path in site.home.rglob("*.log") if SECRET in path.read_text("utf-8")]
    assert logs == []
