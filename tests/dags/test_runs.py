"""Runs of the DAGs against a real database, real exporters and a real S3 server."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from dag_runs import Exporters, Runs
from stored_rows import row_versions, rows

from billing_etl.hours import Hour, parse_hour
from billing_etl.local.object_store import EmbeddedObjectStore

NOON = parse_hour("2026-04-08T12")
ACCOUNT = "6b1f6f0e-58d4-4a0c-9d9d-2f6f2f1f8a01"
Query = Callable[[str], list[tuple[Any, ...]]]


def snapshots(*readings: tuple[str, int, int], node_id: str = "node-1") -> list[dict[str, Any]]:
    """Snapshots of one node with one account on one inbound: time of 2026-04-08, up, down."""
    return [
        {
            "collected_at": f"2026-04-08T{time}Z",
            "node_id": node_id,
            "env": "prod",
            "samples": [
                {
                    "uuid": ACCOUNT,
                    "email": "unknown",
                    "inbound_tag": "tcp",
                    "uplink_bytes_total": up,
                    "downlink_bytes_total": down,
                }
            ],
        }
        for time, up, down in readings
    ]


# The worked example of docs/semantics.md, with an idle last minute that completes the hour.
WORKED_EXAMPLE = (
    ("11:59:03", 500, 1000),
    ("12:00:03", 510, 1030),
    ("12:01:03", 510, 1030),
    ("12:02:03", 540, 1100),
    ("12:03:03", 7, 13),
    ("12:09:03", 10, 20),
    ("12:59:03", 10, 20),
)
NEXT_HOUR = (("13:10:03", 30, 40), ("13:59:03", 30, 40))  # 40 bytes in 13:10


@pytest.fixture
def query(database_url: str) -> Query:
    return partial(rows, database_url)


def bytes_by_minute(query: Query, source_id: str = "jp-1") -> dict[str, int]:
    found = query(
        "select minute, total_bytes from billing.usage_minutes"
        f" where source_id = '{source_id}' order by minute"
    )
    return {minute.astimezone(UTC).strftime("%H:%M"): total for minute, total in found}


def ledger(query: Query) -> list[tuple[str, int, int]]:
    found = query("select entry_type, rated_bytes, amount from billing.ledger order by entry_id")
    return [(kind, rated_bytes, int(amount)) for kind, rated_bytes, amount in found]


# --- collect_and_rate ----------------------------------------------------------------------


def test_a_run_collects_and_rates_the_hour_of_its_interval(
    runs: Runs, exporters: Exporters, query: Query
) -> None:
    exporters.add("jp-1", snapshots(*WORKED_EXAMPLE))
    run = runs.hour("collect_and_rate", NOON)
    assert run.state == "success"
    assert run.tasks == {
        "list_sources": "success",
        "collect jp-1: 1 hours, 2026-04-08T12 to 2026-04-08T12": "success",
        "rate": "success",
        "report": "success",
    }
    assert bytes_by_minute(query) == {"12:00": 40, "12:02": 100, "12:03": 20, "12:09": 10}
    assert ledger(query) == [("traffic_charge", 70, 140)]


def test_a_run_says_which_hours_it_did(runs: Runs, exporters: Exporters) -> None:
    exporters.add("jp-1", snapshots(*WORKED_EXAMPLE))
    report = runs.hour("collect_and_rate", NOON).result("report")
    assert report["hours"] == ["[2026-04-08T12, 2026-04-08T13)"]
    (collected,) = report["collected"]
    assert collected["source_id"] == "jp-1"
    assert collected["hours"] == ["2026-04-08T12"]
    assert collected["facts_written"] == 4
    assert report["rated"]["charges"] == 1


def test_the_same_run_again_changes_no_row(
    runs: Runs, exporters: Exporters, database_url: str
) -> None:
    exporters.add("jp-1", snapshots(*WORKED_EXAMPLE))
    runs.hour("collect_and_rate", NOON)
    before = row_versions(database_url)
    assert all(before.values())
    again = runs.hour("collect_and_rate", NOON)
    assert len(again.tasks) == 4
    assert again.result("report")["collected"][0]["facts_written"] == 0
    assert row_versions(database_url) == before


def test_a_dry_run_says_what_would_change_and_changes_nothing(
    runs: Runs, exporters: Exporters, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    exporters.add("jp-1", snapshots(*WORKED_EXAMPLE))
    before = row_versions(database_url)
    hours = {"from_hour": "2026-04-08T12", "to_hour": "2026-04-08T13"}
    run = runs.with_params("collect_and_rate", dry_run=True, **hours)
    assert run.state == "success"
    assert run.tasks == {
        "list_sources": "success", "collect": "skipped", "rate": "success", "report": "success",
    }  # fmt: skip
    result = run.result("report")
    assert {
        "hours": "[2026-04-08T12, 2026-04-08T13)", "source_hours": 1, "accounts_changed": 1,
        "bytes_difference": 170, "amount_difference": "140", "corrections": 0,
    }.items() <= result.items()  # fmt: skip
    assert row_versions(database_url) == before
    assert rows(database_url, "select count(*) from billing_core.runs") == [(0,)]
    log = [line.split() for line in caplog.text.splitlines()]
    assert any(
        line[-9:] == ["2026-04-08T12", "1", "0", "170", "170", "0", "140", "140", "0"]
        for line in log
    )


def test_a_dry_run_that_could_not_compare_all_fails_and_keeps_its_sums(
    runs: Runs, exporters: Exporters, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporters.add("jp-1", snapshots(*WORKED_EXAMPLE))
    monkeypatch.setenv("WRONG_TOKEN", "not-the-token")
    exporters.add("us-1", snapshots(*WORKED_EXAMPLE, node_id="node-2"), token_env="WRONG_TOKEN")
    run = runs.hour("collect_and_rate", NOON, dry_run=True)
    assert run.tasks["report"] == "failed"
    summary = run.result("report", key="summary")
    assert (summary["failed"], summary["bytes_difference"]) == (1, 170)
    assert "not-the-token" not in str(summary)
    assert rows(database_url, "select count(*) from billing_core.facts") == [(0,)]


def test_a_failing_source_blocks_no_other_and_its_hour_stays_open(
    runs: Runs, exporters: Exporters, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporters.add("jp-1", snapshots(*WORKED_EXAMPLE))
    monkeypatch.setenv("WRONG_TOKEN", "not-the-token")
    exporters.add("us-1", snapshots(*WORKED_EXAMPLE, node_id="node-2"), token_env="WRONG_TOKEN")
    run = runs.hour("collect_and_rate", NOON)
    assert run.state == "failed"
    assert run.tasks == {
        "list_sources": "success",
        "collect jp-1: 1 hours, 2026-04-08T12 to 2026-04-08T12": "success",
        "collect us-1: 1 hours, 2026-04-08T12 to 2026-04-08T12": "failed",
        "rate": "success",
        "report": "upstream_failed",
    }
    assert sum(bytes_by_minute(query).values()) == 170
    assert ledger(query) == [("traffic_charge", 70, 140)]
    assert query("select source_id, state from billing.source_hours order by 1") == [
        ("jp-1", "complete"),
        ("us-1", "partial"),
    ]
    ((error,),) = query("select last_error from billing.source_status where source_id = 'us-1'")
    assert "401" in error
    assert "not-the-token" not in error
    # A record leads to the very task: to the log of the source that failed.
    assert query(
        "select split_part(external_id, ' ', 3), status from billing_core.runs"
        " where split_part(external_id, ' ', 1) = 'collect_and_rate' order by 1"
    ) == [("collect[0]", "success"), ("collect[1]", "failed"), ("rate", "success")]


def test_a_run_takes_up_the_earlier_hours_that_are_open(
    runs: Runs, exporters: Exporters, query: Query
) -> None:
    interrupted = [reading for reading in WORKED_EXAMPLE if reading[0] < "12:03"]
    exporters.add("jp-1", snapshots(*interrupted))
    runs.hour("collect_and_rate", NOON)
    assert sum(bytes_by_minute(query).values()) == 140

    exporters.serve("jp-1", snapshots(*WORKED_EXAMPLE, *NEXT_HOUR))
    run = runs.hour("collect_and_rate", NOON.next)
    assert run.result("report")["hours"] == ["[2026-04-08T12, 2026-04-08T14)"]
    assert bytes_by_minute(query) == {
        "12:00": 40,
        "12:02": 100,
        "12:03": 20,
        "12:09": 10,
        "13:10": 40,
    }
    assert query("select distinct state from billing.source_hours") == [("complete",)]


def test_an_hour_that_could_not_be_rated_is_rated_by_a_later_run(
    runs: Runs, exporters: Exporters, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporters.add("jp-1", snapshots(*WORKED_EXAMPLE, *NEXT_HOUR))
    monkeypatch.delenv("PRICE_PER_BYTE")
    unrated = runs.hour("collect_and_rate", NOON)
    assert unrated.state == "failed"
    assert unrated.tasks["rate"] == "failed"
    assert ledger(query) == []

    monkeypatch.setenv("PRICE_PER_BYTE", "2")
    assert runs.hour("collect_and_rate", NOON.next).state == "success"
    assert ledger(query) == [("traffic_charge", 70, 140), ("traffic_charge", 40, 80)]


def test_params_name_hours_and_sources(runs: Runs, exporters: Exporters, query: Query) -> None:
    exporters.add("jp-1", snapshots(*WORKED_EXAMPLE, *NEXT_HOUR))
    exporters.add("us-1", snapshots(*WORKED_EXAMPLE, *NEXT_HOUR, node_id="node-2"))
    run = runs.with_params(
        "collect_and_rate", from_hour="2026-04-08T12", to_hour="2026-04-08T14", sources=["us-1"]
    )
    assert run.tasks == {
        "list_sources": "success",
        "collect us-1: 2 hours, 2026-04-08T12 to 2026-04-08T13": "success",
        "rate": "success",
        "report": "success",
    }
    assert bytes_by_minute(query, "jp-1") == {}
    assert sum(bytes_by_minute(query, "us-1").values()) == 210


@pytest.mark.usefixtures("airflow")
@pytest.mark.parametrize(
    ("run_type", "params", "expected"),
    [
        ("backfill", {}, "[2026-04-08T12, 2026-04-08T13)"),
        ("scheduled", {}, "None"),
        ("manual", {}, "None"),
        *(
            (run_type, {"from_hour": "2026-04-08T10", "to_hour": "2026-04-08T12"},
             "[2026-04-08T10, 2026-04-08T12)")
            for run_type in ("backfill", "scheduled", "manual")
        ),
    ],
)  # fmt: skip
def test_params_and_backfills_ask_for_hours_and_no_others(
    run_type: str, params: dict[str, str], expected: str
) -> None:
    from billing_airflow.context import asked_hours

    run = SimpleNamespace(
        run_type=run_type, data_interval_start=NOON.start, data_interval_end=NOON.end
    )
    context: Any = {"params": params, "dag_run": run}
    assert str(asked_hours(context)) == expected


def test_a_manual_run_without_params_does_the_hour_that_ended_last(
    runs: Runs, exporters: Exporters
) -> None:
    exporters.add("jp-1", snapshots(*WORKED_EXAMPLE))
    before = Hour.of(datetime.now(UTC)).previous
    plan = runs.with_params("collect_and_rate").result("list_sources")
    after = Hour.of(datetime.now(UTC)).previous
    assert plan in [[{"source_id": "jp-1", "hours": [str(hour)]}] for hour in (before, after)]


@pytest.mark.parametrize(
    "params",
    [
        {"from_hour": "2026-04-08T12"},
        {"from_hour": "2026-04-08T12", "to_hour": "2026-04-08T12"},
        {"from_hour": "yesterday", "to_hour": "2026-04-08T12"},
        {"from_hour": "2026-04-08T12", "to_hour": "2199-01-01T00"},
        {"sources": ["nowhere"]},
    ],
    ids=["no end", "empty range", "not an hour", "hours ahead", "unknown source"],
)
def test_wrong_params_end_the_run_at_once(
    runs: Runs, exporters: Exporters, query: Query, params: dict[str, Any]
) -> None:
    exporters.add("jp-1", snapshots(*WORKED_EXAMPLE))
    run = runs.with_params("collect_and_rate", **params)
    assert run.state == "failed"
    assert run.tasks["list_sources"] == "failed"
    assert bytes_by_minute(query) == {}


def test_no_enabled_source_is_no_failure(runs: Runs, exporters: Exporters) -> None:
    exporters.add("jp-1", snapshots(*WORKED_EXAMPLE), enabled=False)
    run = runs.hour("collect_and_rate", NOON)
    assert run.state == "success"
    assert run.result("list_sources") == []


def test_database_and_token_may_stand_in_airflow_connections(
    runs: Runs,
    exporters: Exporters,
    query: Query,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exporters.add("jp-1", snapshots(*WORKED_EXAMPLE), connection_id="exporter_jp")
    monkeypatch.setenv("AIRFLOW_CONN_BILLING_DATABASE", database_url)
    monkeypatch.setenv("AIRFLOW_CONN_EXPORTER_JP", "http://:exporter-token@")
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("INTERNAL_SERVICE_TOKEN")
    assert runs.hour("collect_and_rate", NOON).state == "success"
    assert sum(bytes_by_minute(query).values()) == 170


def test_the_running_hour_is_collected_as_far_as_it_is(
    runs: Runs, exporters: Exporters, query: Query
) -> None:
    now = datetime.now(UTC)
    reading = snapshots(("00:00:00", 1, 2))[0] | {"collected_at": now.isoformat()}
    exporters.add("jp-1", [reading])
    run = runs.with_params("collect_running_hour")
    assert run.state == "success"
    assert len(run.tasks) == 4
    assert query("select hour, state, snapshots from billing.source_hours") == [
        (Hour.of(now).start, "partial", 1)
    ]


# --- export_hourly and reconcile -----------------------------------------------------------


class Bucket:
    """What a bucket holds."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self.name = name

    def objects(self) -> dict[str, str]:
        """Entity tag and time of writing by key."""
        listing = self._client.list_objects_v2(Bucket=self.name)
        return {
            entry["Key"]: f"{entry['ETag']} {entry['LastModified']}"
            for entry in listing.get("Contents", [])
        }

    def remove(self, key: str) -> None:
        self._client.delete_object(Bucket=self.name, Key=key)


@pytest.fixture
def delivery(
    exporters: Exporters,
    s3_server: EmbeddedObjectStore,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Bucket:
    """Delivery switched on, to a bucket of the test."""
    for name, value in {
        "BILLING_S3_ENABLED": "true",
        "BILLING_S3_BUCKET": bucket,
        "BILLING_S3_ENDPOINT_URL": s3_server.endpoint_url,
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.session.Session().client("s3", endpoint_url=s3_server.endpoint_url)
    return Bucket(client, bucket)


@pytest.fixture
def collected(runs: Runs, exporters: Exporters) -> None:
    """Two hours of one source, collected and rated."""
    exporters.add("jp-1", snapshots(*WORKED_EXAMPLE, *NEXT_HOUR))
    run = runs.with_params("collect_and_rate", from_hour="2026-04-08T12", to_hour="2026-04-08T14")
    assert run.state == "success"


@pytest.mark.usefixtures("collected")
def test_a_run_delivers_the_hour_of_its_interval_and_what_is_pending_before(
    runs: Runs, delivery: Bucket
) -> None:
    run = runs.hour("export_hourly", NOON.next)
    assert run.tasks == {"wait_until_ready": "success", "deliver": "success"}
    assert run.result("deliver")["hours"] == ["[2026-04-08T12, 2026-04-08T14)"]
    events = [key for key in delivery.objects() if key.endswith(".jsonl")]
    assert {key.rsplit("/", 1)[0] for key in events} == {
        "traffic_bytes/2026/04/08/12",
        "traffic_bytes/2026/04/08/13",
    }


class Gauges:
    """Takes the place of Airflow's StatsD or OpenTelemetry client."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], float] = {}

    def gauge(self, stat: str, value: float, tags: dict[str, str] | None = None, **_: Any) -> None:
        if stat.startswith("billing."):
            self.values[stat, (tags or {})["event_type"]] = value

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *_, **__: nullcontext()


@pytest.fixture
def gauges(airflow: None) -> Iterator[Gauges]:
    from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
    from airflow.sdk.observability import stats

    seen = Gauges()
    stats.initialize(factory=lambda: seen, export_legacy_names=False)  # type: ignore[arg-type,return-value]
    yield seen
    stats.initialize(factory=NoStatsLogger, export_legacy_names=False)


@pytest.mark.usefixtures("collected")
def test_an_export_sends_the_gauges_of_delivery(
    runs: Runs, delivery: Bucket, gauges: Gauges, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that fails."""
    monkeypatch.setenv("BILLING_S3_BUCKET", "no-such-bucket")
    assert runs.hour("export_hourly", NOON).tasks["deliver"] == "failed"
    waits = 5  # facts of the two hours
    expected = {
        "offered_events": waits, "delivered_events": 0, "backlog_events": waits,
        "failed_objects": 0, "pending_objects": 0, "stalled": 0,
    }  # fmt: skip

    def seen() -> dict[str, float]:
        values = {name.split(".")[-1]: value for (name, _), value in gauges.values.items()}
        return {name: value for name, value in values.items() if "seconds" not in name}

    assert seen() == expected
    assert gauges.values["billing.delivery.oldest_age_seconds", "traffic_bytes"] > 0

    monkeypatch.setenv("BILLING_S3_BUCKET", delivery.name)
    assert runs.hour("export_hourly", NOON.next).tasks["deliver"] == "success"
    assert seen() == expected | {"delivered_events": waits, "backlog_events": 0}
    assert gauges.values["billing.delivery.oldest_age_seconds", "traffic_bytes"] == 0
    assert gauges.values["billing.delivery.seconds_since_success", "traffic_bytes"] >= 0


@pytest.mark.usefixtures("collected")
def test_params_name_the_hours_to_deliver(runs: Runs, delivery: Bucket) -> None:
    run = runs.with_params("export_hourly", from_hour="2026-04-08T13", to_hour="2026-04-08T14")
    assert run.result("deliver")["hours"] == ["[2026-04-08T13, 2026-04-08T14)"]
    assert {key.rsplit("/", 1)[0] for key in delivery.objects()} == {"traffic_bytes/2026/04/08/13"}


@pytest.mark.usefixtures("collected")
def test_the_same_export_again_sends_no_byte(runs: Runs, delivery: Bucket) -> None:
    runs.hour("export_hourly", NOON)
    before = delivery.objects()
    assert before
    assert runs.hour("export_hourly", NOON).tasks == {
        "wait_until_ready": "success",
        "deliver": "success",
    }
    assert delivery.objects() == before


@pytest.mark.usefixtures("collected")
def test_switched_off_nothing_is_delivered_until_it_is_switched_on(
    runs: Runs, delivery: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILLING_S3_ENABLED", "false")
    assert runs.hour("export_hourly", NOON).tasks == {
        "wait_until_ready": "success",
        "deliver": "success",
    }
    assert delivery.objects() == {}
    monkeypatch.setenv("BILLING_S3_ENABLED", "true")
    runs.hour("export_hourly", NOON.next)
    assert len([key for key in delivery.objects() if key.endswith(".jsonl")]) == 2


def reconcile(runs: Runs, **params: Any) -> Any:
    return runs.with_params(
        "reconcile", from_hour="2026-04-08T12", to_hour="2026-04-08T14", **params
    )


@pytest.mark.usefixtures("collected")
def test_clean_hours_reconcile(runs: Runs, delivery: Bucket, query: Query) -> None:
    runs.hour("export_hourly", NOON.next)
    run = reconcile(runs)
    assert run.tasks == {"wait_until_ready": "success", "check": "success"}
    assert run.result("check") == {
        "hours": "[2026-04-08T12, 2026-04-08T14)",
        "checks": 12,
        "different": 0,
    }
    ((stored,),) = query("select count(*) from billing.reconciliations where status = 'clean'")
    assert stored == 12


@pytest.mark.usefixtures("collected")
def test_what_differs_fails_the_run_after_everything_is_stored(
    runs: Runs, delivery: Bucket, query: Query
) -> None:
    runs.hour("export_hourly", NOON.next)
    lost = next(key for key in delivery.objects() if key.endswith(".jsonl"))
    delivery.remove(lost)
    run = reconcile(runs, repair=False)
    assert run.state == "failed"
    assert run.tasks == {"wait_until_ready": "success", "check": "failed"}
    assert run.result("check", key="summary")["different"] == 1
    assert query("select status, count(*) from billing.reconciliations group by 1 order by 1") == [
        ("clean", 11),
        ("different", 1),
    ]
    assert lost not in delivery.objects()


@pytest.mark.usefixtures("collected")
def test_repair_restores_what_was_lost(runs: Runs, delivery: Bucket) -> None:
    runs.hour("export_hourly", NOON.next)
    before = set(delivery.objects())
    delivery.remove(next(key for key in before if key.endswith(".jsonl")))
    assert reconcile(runs).tasks == {"wait_until_ready": "success", "check": "success"}
    assert set(delivery.objects()) == before


@pytest.mark.usefixtures("collected", "delivery")
def test_a_scheduled_reconciliation_looks_back_as_far_as_it_is_told(runs: Runs) -> None:
    runs.hour("export_hourly", NOON.next)
    run = runs.hour("reconcile", NOON.next, lookback_hours=5)
    assert run.result("check", key="summary") == {
        "hours": "[2026-04-08T09, 2026-04-08T14)",
        "checks": 30,
        "different": 0,
    }


# --- maintenance -------------------------------------------------------------------------------


def test_maintenance_tells_in_a_dry_run_what_it_then_does(
    exporters: Exporters, runs: Runs, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILLING_ARREARS_GRACE", "14d")
    exporters.add("jp-1", snapshots(*WORKED_EXAMPLE))
    runs.hour("collect_and_rate", NOON)
    told = runs.with_params("maintenance", dry_run=True)
    assert set(told.tasks.values()) == {"success"}
    assert query("select count(*) from billing.suspensions") == [(0,)]
    assert query("select count(*) from billing_core.runs where command like 'maintain%'") == [(0,)]

    done = runs.with_params("maintenance")

    assert set(done.tasks) == {"partitions", "archive", "retention", "arrears"}
    for task in done.tasks:
        assert done.result(task) == {**told.result(task), "dry_run": False}
    assert done.result("arrears") == {"dry_run": False, "suspended": 1}
    assert query("select account_uuid::text, state from billing.suspensions") == [
        (ACCOUNT, "suspended")
    ]
    assert query(
        "select command, split_part(external_id, ' ', 1), status from billing_core.runs"
        " where command like 'maintain%' order by 1"
    ) == [(f"maintain {name}", "maintenance", "success") for name in sorted(done.tasks)]
