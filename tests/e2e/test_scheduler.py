"""The whole line through a real Airflow: scheduler, workers, DAG processor, API, triggerer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from stored_rows import row_versions, rows

from billing_etl.hours import Hour, HourRange, format_instant_ns
from billing_etl.local.airflow import LocalAirflow
from billing_etl.local.airflow_api import AirflowApi
from billing_etl.local.exporter_server import ExporterServer
from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.local.processes import free_ports
from billing_etl.settings import SETTINGS

pytestmark = pytest.mark.e2e

TOKEN = "exporter-token"
ACCOUNT = "6b1f6f0e-58d4-4a0c-9d9d-2f6f2f1f8a01"
PATIENCE_SECONDS = 600


def history(hours: HourRange) -> list[dict[str, Any]]:
    """One account that moves 10 bytes up and 20 down every minute.

    It begins one minute before the hours: the baseline. Each hour then holds 60 facts of 30
    bytes, 1,800 bytes.
    """
    first = hours.start.first_minute - 1
    return [
        {
            "collected_at": format_instant_ns((minute * 60 + 3) * 10**9),
            "node_id": "node-1",
            "env": "prod",
            "samples": [
                {
                    "uuid": ACCOUNT,
                    "email": "unknown",
                    "inbound_tag": "tcp",
                    "uplink_bytes_total": 10 * (minute - first),
                    "downlink_bytes_total": 20 * (minute - first),
                }
            ],
        }
        for minute in range(first, hours.end.first_minute)
    ]


@dataclass(frozen=True)
class Line:
    """A running Airflow and what it works on."""

    api: AirflowApi
    hours: HourRange
    database_url: str
    s3: Any
    bucket: str

    def backfill(self, dag_id: str) -> list[str]:
        """Has the scheduler run the hours; gives the states of the runs."""
        self.api.backfill(dag_id, self.hours)
        self.api.unpause(dag_id)
        return [run.state for run in self.api.wait_hours(dag_id, self.hours, PATIENCE_SECONDS)]

    def trigger(self, dag_id: str, **params: Any) -> tuple[str, str]:
        """Triggers a run with Params; gives its run id and how it ended."""
        run_id = self.api.trigger(dag_id, params)
        self.api.unpause(dag_id)
        return run_id, self.api.wait_run(dag_id, run_id, PATIENCE_SECONDS).state

    def objects(self) -> dict[str, str]:
        """Entity tag and time of writing of every object by key."""
        listing = self.s3.list_objects_v2(Bucket=self.bucket)
        return {
            entry["Key"]: f"{entry['ETag']} {entry['LastModified']}"
            for entry in listing.get("Contents", [])
        }

    def events(self) -> list[dict[str, Any]]:
        """Every event that was delivered."""
        return [
            json.loads(line)
            for key in self.objects()
            if key.endswith(".jsonl")
            for line in self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].iter_lines()
        ]


@contextmanager
def served(snapshots: list[dict[str, Any]], directory: Path) -> Iterator[ExporterServer]:
    store = directory / "snapshots.json"
    store.write_text(json.dumps(snapshots))
    with ExporterServer(store, "127.0.0.1:0", TOKEN) as server:
        yield server


@pytest.fixture
def line(
    postgres_server: EmbeddedPostgres,
    database_url: str,
    s3_server: EmbeddedObjectStore,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Line]:
    """Airflow with one source of three whole hours, nothing collected yet."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    end = Hour.of(datetime.now(UTC))
    hours = HourRange(Hour(end.index - 3), end)
    postgres_server.create_database("airflow_e2e")
    keys = {
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    s3 = boto3.session.Session().client("s3", endpoint_url=s3_server.endpoint_url)
    with served(history(hours), tmp_path) as exporter:
        source = {"source_id": "jp-1", "base_url": exporter.base_url}
        airflow = LocalAirflow(
            home=tmp_path / "airflow",
            metadata_url=postgres_server.url("airflow_e2e"),
            port=free_ports(1)[0],
            task_environment={
                "DATABASE_URL": database_url,
                "EXPORTER_SOURCES_JSON": json.dumps([source]),
                "INTERNAL_SERVICE_TOKEN": TOKEN,
                "PRICE_PER_BYTE": "2",
                "BILLING_S3_ENABLED": "true",
                "BILLING_S3_BUCKET": bucket,
                "BILLING_S3_ENDPOINT_URL": s3_server.endpoint_url,
                # Else a run of the next hour begins amid the test when a full hour strikes.
                "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "false",
            }
            | keys,
        )
        with airflow.running() as api:
            yield Line(api, hours, database_url, s3, bucket)


def test_airflow_collects_rates_delivers_and_reconciles(line: Line) -> None:
    # Collected and rated by a backfill. The tasks' pool was made by the project itself: with
    # the pool missing they would wait for ever.
    assert line.backfill("collect_and_rate") == ["success"] * 3
    facts = rows(
        line.database_url,
        "select date_trunc('hour', minute), count(*), sum(total_bytes)::bigint"
        " from billing.usage_minutes group by 1 order by 1",
    )
    assert facts == [(hour.start, 60, 1800) for hour in line.hours]
    charges = rows(
        line.database_url,
        "select hour, entry_type, rated_bytes, amount::bigint from billing.ledger order by hour",
    )
    assert charges == [(hour.start, "traffic_charge", 1800, 3600) for hour in line.hours]

    assert line.backfill("export_hourly") == ["success"] * 3
    events = line.events()
    assert len({event["id"] for event in events}) == len(events) == 180
    assert sum(event["properties"]["usage"] for event in events) == 5400

    hours = {"from_hour": str(line.hours.start), "to_hour": str(line.hours.end)}
    run_id, state = line.trigger("reconcile", **hours)
    assert state == "success", line.api.task_states("reconcile", run_id)
    checks = rows(
        line.database_url,
        "select hour, status, count(*) from billing.reconciliations"
        f" where hour >= '{line.hours.start.start}' group by 1, 2 order by 1, 2",
    )
    assert checks == [(hour.start, "clean", 6) for hour in line.hours]

    # The same over HTTP: a job is a run of the DAG, and its end is waited for.
    headers = {"Authorization": f"Bearer {line.api.token()}"}
    with httpx.Client(base_url=f"{line.api.base_url}/billing", headers=headers) as billing:
        answer = billing.post("/v1/jobs/collect-and-rate", params=hours, timeout=PATIENCE_SECONDS)
        health, status = billing.get("/healthz"), billing.get("/v1/status").json()
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert (report["status"], report["written_minutes"], report["replayed_minutes"]) == (
        "ok",
        0,
        180,
    )
    assert [source["source_id"] for source in report["sources"]] == ["jp-1"]
    assert (status["run_id"], status["finished_at"]) == (report["run_id"], report["finished_at"])
    assert (health.status_code, health.json()) == (200, {"status": "ok", "message": ""})

    # A run that failed can be cleared, which Airflow does not do with each kind of deadline.
    failed, state = line.trigger("collect_and_rate", sources=["nobody"])
    assert state == "failed"
    line.api.clear_task("collect_and_rate", failed, "list_sources")
    assert line.api.wait_run("collect_and_rate", failed, PATIENCE_SECONDS).state == "failed"

    # A cleared task and a second backfill change no row and send no byte.
    stored, delivered = row_versions(line.database_url), line.objects()
    last_hour = line.hours.end.previous
    run = line.api.dag_run_states("collect_and_rate", line.hours)[last_hour]
    line.api.clear_task("collect_and_rate", run.run_id, "collect")
    assert line.api.wait_run("collect_and_rate", run.run_id, PATIENCE_SECONDS).state == "success"
    assert line.backfill("export_hourly") == ["success"] * 3
    assert row_versions(line.database_url) == stored
    assert line.objects() == delivered
