"""The whole line through a real Airflow: scheduler, workers, DAG processor, API, triggerer."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from pipeline.harness import command
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
ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("de-1", "jp-1")
COLLECT = "/billing/v1/jobs/collect-and-rate"


def history(hours: HourRange, node_id: str = "node-1") -> list[dict[str, Any]]:
    """One account that moves 10 bytes up and 20 down every minute.

    It begins one minute before the hours: the baseline. Each hour then holds 60 facts of 30
    bytes, 1,800 bytes; of both nodes 3,600.
    """
    first = hours.start.first_minute - 1
    return [
        {
            "collected_at": format_instant_ns((minute * 60 + 3) * 10**9),
            "node_id": node_id,
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
    """A running Airflow and what it works on; ``earlier`` are the hours before ``hours``."""

    api: AirflowApi
    earlier: HourRange
    hours: HourRange
    settings: dict[str, str]
    database_url: str
    s3: Any
    bucket: str

    def backfill(self, dag_id: str, hours: HourRange | None = None) -> list[str]:
        """Has the scheduler run the hours; gives the states of the runs."""
        hours = hours or self.hours
        self.api.backfill(dag_id, hours)
        self.api.unpause(dag_id)
        return [run.state for run in self.api.wait_hours(dag_id, hours, PATIENCE_SECONDS)]

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
    store = directory / f"{snapshots[0]['node_id']}.json"
    store.write_text(json.dumps(snapshots))
    with ExporterServer(store, "127.0.0.1:0", TOKEN) as server:
        yield server


@pytest.fixture(scope="module")
def line(
    postgres_server: EmbeddedPostgres,
    migrated_template: str,
    s3_server: EmbeddedObjectStore,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Line]:
    """Airflow with two sources of eight whole hours, nothing collected yet.

    Its start takes a minute, so all tests have the same; each has hours of its own.
    """
    end = Hour.of(datetime.now(UTC))
    hours = HourRange(Hour(end.index - 3), end)
    earlier = HourRange(Hour(end.index - 8), hours.start)
    all_hours = HourRange(earlier.start, end)
    directory, bucket = tmp_path_factory.mktemp("scheduler"), "scheduler"
    postgres_server.create_database("airflow_e2e")
    postgres_server.create_database("billing_e2e", migrated_template)
    s3_server.create_bucket(bucket)
    database_url = postgres_server.url("billing_e2e")
    keys = {
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        for name in SETTINGS:
            patch.delenv(name, raising=False)
        for name, value in keys.items():
            patch.setenv(name, value)
        s3 = boto3.session.Session().client("s3", endpoint_url=s3_server.endpoint_url)
        sources = []
        for source_id in SOURCES:
            node = history(all_hours, f"node-of-{source_id}")
            exporter = stack.enter_context(served(node, directory))
            sources.append({"source_id": source_id, "base_url": exporter.base_url})
        settings = {
            "DATABASE_URL": database_url,
            "EXPORTER_SOURCES_JSON": json.dumps(sources),
            "INTERNAL_SERVICE_TOKEN": TOKEN,
            "PRICE_PER_BYTE": "2",
            "BILLING_S3_ENABLED": "true",
            "BILLING_S3_BUCKET": bucket,
            "BILLING_S3_ENDPOINT_URL": s3_server.endpoint_url,
        } | keys
        airflow = LocalAirflow(
            home=directory / "airflow",
            metadata_url=postgres_server.url("airflow_e2e"),
            port=free_ports(1)[0],
            # Else a run of the next hour begins amid the test when a full hour strikes.
            task_environment=settings | {"AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "false"},
        )
        with airflow.running(PATIENCE_SECONDS) as api:
            yield Line(api, earlier, hours, settings, database_url, s3, bucket)


def test_airflow_collects_rates_delivers_and_reconciles(line: Line) -> None:
    # Collected and rated by a backfill. The tasks' pool was made by the project itself: with
    # the pool missing they would wait for ever.
    assert line.backfill("collect_and_rate") == ["success"] * 3
    facts = rows(
        line.database_url,
        "select date_trunc('hour', minute), count(*), sum(total_bytes)::bigint"
        f" from billing.usage_minutes where minute >= '{line.hours.start.start}'"
        " group by 1 order by 1",
    )
    assert facts == [(hour.start, 120, 3600) for hour in line.hours]
    charges = rows(
        line.database_url,
        "select hour, entry_type, rated_bytes, amount::bigint from billing.ledger"
        f" where hour >= '{line.hours.start.start}' order by hour",
    )
    assert charges == [(hour.start, "traffic_charge", 3600, 7200) for hour in line.hours]

    assert line.backfill("export_hourly") == ["success"] * 3
    events = line.events()
    assert len({event["id"] for event in events}) == len(events) == 360
    assert sum(event["properties"]["usage"] for event in events) == 10_800

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
        360,
    )
    assert sorted(source["source_id"] for source in report["sources"]) == list(SOURCES)
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


# --- backfills by REST -------------------------------------------------------------------------


def documented_body() -> dict[str, Any]:
    """What `docs/backfills.md` has people send."""
    page = (ROOT / "docs" / "backfills.md").read_text()
    (body,) = re.findall(r"/api/v2/backfills\" [^\n]* -d '(\{.*?\})'", page, re.DOTALL)
    return dict(json.loads(body))


def billed(database_url: str, hours: HourRange) -> list[tuple[Any, ...]]:
    return rows(
        database_url,
        "select minute, source_id, uplink_bytes, downlink_bytes, rated_bytes, amount,"
        " spans_minutes from billing.usage_minutes"
        f" where minute >= '{hours.start.start}' and minute < '{hours.end.start}' order by 1, 2",
    )


def test_a_backfill_by_rest_goes_newest_first_over_exactly_its_hours(
    line: Line, database_url: str
) -> None:
    # With the first hour there, all that come after it are open to whoever looks for such.
    assert line.backfill("collect_and_rate", HourRange.single(line.earlier.start)) == ["success"]
    hours = HourRange(line.earlier.start.next, line.earlier.end)
    newest_first = list(hours)[::-1]
    asked = {"from_hour": str(hours.start), "to_hour": str(hours.end), "dry_run": True}
    stored, recorded = row_versions(line.database_url), runs_of(line, "collect")
    body = documented_body() | {
        "from_date": hours.start.start.isoformat(),
        "to_date": newest_first[0].start.isoformat(),
    }
    assert (body["run_backwards"], body["max_active_runs"]) == (True, 2)

    headers = {"Authorization": f"Bearer {line.api.token()}"}
    with httpx.Client(
        base_url=line.api.base_url, headers=headers, timeout=PATIENCE_SECONDS
    ) as client:

        def planned(**more: Any) -> list[Hour]:
            answer = client.post("/api/v2/backfills/dry_run", json=body | more)
            return [
                Hour.of(datetime.fromisoformat(run["logical_date"]))
                for run in answer.json()["backfills"]
            ]

        def run() -> list[tuple[datetime, ...]]:
            """Start, end and hour of the runs, in the order in which they started."""
            line.api.cancel_backfills("collect_and_rate")
            answer = client.post("/api/v2/backfills", json=body)
            assert answer.status_code == 200, answer.text
            ended = line.api.wait_hours("collect_and_rate", hours, PATIENCE_SECONDS)
            assert [run.state for run in ended] == ["success"] * len(hours)
            listed = [
                client.get(f"/api/v2/dags/collect_and_rate/dagRuns/{run.run_id}").json()
                for run in ended
            ]
            dates = ("start_date", "end_date", "logical_date")
            return sorted(
                tuple(datetime.fromisoformat(run[date]) for date in dates) for run in listed
            )

        # What it would do: in bytes and money, and as runs. Neither does anything.
        before, totals_before = client.post(COLLECT, json=asked), totals(line)
        assert planned() == newest_first
        assert (row_versions(line.database_url), runs_of(line, "collect")) == (stored, recorded)
        done, totals_after = run(), totals(line)
        after = client.post(COLLECT, json=asked)

        stored = row_versions(line.database_url)
        assert planned(reprocess_behavior="none") == planned(reprocess_behavior="failed") == []
        again = run()

    assert (before.status_code, before.json()["status"]) == (200, "ok"), before.text
    would_change = before.json()["would_change"]
    assert would_change["source_hours"] == len(hours) * len(SOURCES)
    # Beside its own hours the one after them, when it had bridged the gap.
    changed = {hour for hour, _, _ in {*totals_before} ^ {*totals_after}}
    assert would_change["hours_changed"] == len(changed) >= len(hours)
    for name, column in (("bytes_difference", 1), ("amount_difference", 2)):
        difference = sum(row[column] for row in totals_after) - sum(
            row[column] for row in totals_before
        )
        assert Decimal(would_change[name]) == difference
    assert [after.json()["would_change"][name] for name in ("bytes_difference", "corrections")] == [
        0, 0,
    ]  # fmt: skip

    # Newest first, two at a time, each its own hour only; the second time no row is written.
    for runs in (done, again):
        assert [Hour.of(hour) for _, _, hour in runs] == newest_first
        for place, (start, _, _) in enumerate(runs):
            assert sum(end > start for _, end, _ in runs[:place]) < 2
    each = [f"{source_id} {HourRange.single(hour)}" for source_id in SOURCES for hour in hours]
    assert sorted(runs_of(line, "collect")[len(recorded) :]) == sorted(each * 2)
    assert row_versions(line.database_url) == stored

    # The command leaves the same.
    environment = line.settings | {"DATABASE_URL": database_url}
    ends = ("--from", str(line.earlier.start), "--to", str(line.earlier.end))
    answer = command(environment, "backfill", *ends, "--order", "newest", "--parallel", "2")
    assert answer.code == 0, answer.err
    assert len(billed(database_url, line.earlier)) == 5 * 60 * len(SOURCES)
    assert billed(line.database_url, line.earlier) == billed(database_url, line.earlier)


def test_backfills_deliver_and_check_exactly_their_hours(line: Line) -> None:
    assert line.backfill("collect_and_rate", line.earlier) == ["success"] * len(line.earlier)
    newest = HourRange.single(line.earlier.end.previous)
    assert line.backfill("export_hourly", newest) == ["success"]
    assert line.backfill("reconcile", newest) == ["success"]
    delivered = {key.rsplit("/", 1)[0] for key in line.objects() if key.endswith(".jsonl")}
    places = {hour: f"traffic_bytes/{hour.start:%Y/%m/%d/%H}" for hour in line.earlier}
    assert [hour for hour in line.earlier if places[hour] in delivered] == [newest.start]
    assert runs_of(line, "reconcile") == [str(newest)]


def totals(line: Line) -> list[tuple[Any, ...]]:
    """Bytes and money by hour."""
    return rows(
        line.database_url,
        "select date_trunc('hour', minute), sum(total_bytes), sum(amount)"
        " from billing.usage_minutes group by 1 order by 1",
    )


def runs_of(line: Line, command: str) -> list[str]:
    """Sources and hours of the steps of backfills, in their order."""
    found = rows(
        line.database_url,
        f"select hours from billing_core.runs where command = '{command}'"
        " and external_id like '% backfill__%' order by run_id",
    )
    return [hours for (hours,) in found]
