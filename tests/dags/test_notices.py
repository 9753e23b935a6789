"""Alerts on their way out: real receivers, connections as Airflow reads them, no secret told."""

import base64
import email
import json
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from dag_runs import Exporters, Runs
from receivers import HttpReceiver, http_receiver, smtp_receiver

from billing_etl.errors import BillingError, RetryableError, UsageError
from billing_etl.pipeline.engine import Engine
from billing_etl.settings import Settings

SECRET = "s3cr3t-t0ken"
MESSAGE = {
    "id": "5f0c4d0e-0000-4000-8000-000000000001", "text": "[alert] facts are <late>",
    "kind": "opened", "rule": "fact_lag", "subject": "jp-1", "what": "facts are <late>",
}  # fmt: skip


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with http_receiver() as receiver:
        yield receiver


@pytest.fixture
def connect(airflow: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a connection, as the environment of a deployment does."""

    def connect(connection_id: str = "billing_alerts", **values: Any) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{connection_id.upper()}", json.dumps(values))

    return connect


def send(connection_id: str = "billing_alerts", message: dict[str, Any] = MESSAGE) -> None:
    from billing_airflow.notices import send

    send(connection_id, message)


def test_a_webhook_gets_the_whole_message(connect: Any, receiver: HttpReceiver) -> None:
    connect(conn_type="http", host=f"{receiver.url}/alerts/", password=SECRET)
    send()
    ((path, headers, document),) = receiver.posts
    assert (path, document) == ("/alerts", MESSAGE)
    assert headers["Authorization"] == f"Bearer {SECRET}"
    assert headers["Idempotency-Key"] == MESSAGE["id"]


def test_host_schema_and_port_make_an_address_too(connect: Any, receiver: HttpReceiver) -> None:
    port = int(receiver.url.rpartition(":")[2])
    connect(conn_type="http", host="127.0.0.1", schema="http", port=port, login="u", password="p")
    send()
    ((_, headers, _),) = receiver.posts
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"u:p").decode()


def test_slack_gets_one_line_at_its_secret_address(connect: Any, receiver: HttpReceiver) -> None:
    connect(conn_type="slackwebhook", host=f"{receiver.url}/services", password="T0/B0/x")
    send()
    ((path, headers, document),) = receiver.posts
    assert (path, document) == ("/services/T0/B0/x", {"text": MESSAGE["text"]})
    assert "Authorization" not in headers


def test_a_mail(connect: Any) -> None:
    with smtp_receiver() as (port, mails):
        connect(
            conn_type="smtp", host="127.0.0.1", port=port,
            extra={
                "from_email": "billing@example.com", "to_email": "on-call@example.com",
                "disable_ssl": True, "disable_tls": True,
            },
        )  # fmt: skip
        send()
    (mail,) = mails
    assert "To: on-call@example.com" in mail
    assert "Subject: [billing] opened: fact_lag jp-1" in mail
    (text,) = (
        part.get_payload(decode=True).decode()  # type: ignore[union-attr]
        for part in email.message_from_string(mail).walk()
        if part.get_content_type() == "text/html"
    )
    assert "facts are &lt;late&gt;" in text
    assert MESSAGE["id"] in text


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ({"conn_type": "http", "host": "http://example.com/x"}, UsageError, "expected https"),
        ({"conn_type": "http", "host": ""}, UsageError, "expected a host"),
        ({"conn_type": "aws"}, UsageError, "got 'aws'"),
        ({"conn_type": "smtp", "host": "127.0.0.1"}, UsageError, "expected to_email"),
        ({"conn_type": "http", "host": "http://127.0.0.1:9/x"}, RetryableError, "ConnectError"),
        ({"conn_type": "slackwebhook", "host": "http://127.0.0.1:9"}, RetryableError, "Connect"),
        (
            {
                "conn_type": "smtp", "host": "127.0.0.1", "port": 9,
                "extra": {"to_email": "a@example.com", "from_email": "b@example.com",
                          "disable_ssl": True, "retry_limit": 1},
            },
            RetryableError,
            "ConnectionRefusedError",
        ),
        (None, UsageError, "got none"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_names_the_connection_and_no_secret(
    connect: Any,
    caplog: pytest.LogCaptureFixture,
    values: dict[str, Any] | None,
    error: type[BillingError],
    text: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    if values is not None:
        connect(**({"password": SECRET} | values))
    with pytest.raises(error, match=r"^connection billing_alerts: ") as caught:
        send()
    assert text in str(caught.value)
    assert SECRET not in str(caught.value) + caplog.text


@pytest.mark.parametrize("status", [301, 400, 403, 500])
def test_only_2xx_has_taken_it(connect: Any, receiver: HttpReceiver, status: int) -> None:
    connect(conn_type="slackwebhook", host=receiver.url, password=SECRET)
    receiver.status = status
    with pytest.raises(RetryableError, match=f"expected 2xx, got {status}") as caught:
        send()
    assert SECRET not in str(caught.value)
    assert len(receiver.posts) == 1


def test_the_status_is_enough(connect: Any, receiver: HttpReceiver) -> None:
    connect(conn_type="http", host=receiver.url)
    receiver.body_never_ends = True
    send()  # waiting for the body would fail, as it never comes
    assert receiver.documents == [MESSAGE]


def test_plain_http_to_another_machine_can_be_allowed(connect: Any) -> None:
    from airflow.sdk import Connection
    from billing_airflow.notices import notifier_of

    connect(conn_type="http", host="http://gateway:9093/x", extra={"allow_http": True})
    assert notifier_of(Connection.get("billing_alerts"), MESSAGE) is not None


# --- the DAG and its callbacks -------------------------------------------------------------------


def test_watch_tells_once_that_facts_are_late_and_once_that_they_are_not(
    runs: Runs,
    exporters: Exporters,
    database_url: str,
    connect: Any,
    receiver: HttpReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect(conn_type="http", host=receiver.url, password=SECRET)
    connect("on_call", conn_type="slackwebhook", host=receiver.url, password="x")
    monkeypatch.setenv("BILLING_ALERT_CONNECTIONS", "billing_alerts,on_call")
    monkeypatch.setenv("BILLING_ALERT_RETENTION_USED", "off")
    exporters.add("jp-1", [snapshot("2026-04-08T12:00:03Z"), snapshot("2026-04-08T12:59:03Z")])
    hours = {"from_hour": "2026-04-08T12", "to_hour": "2026-04-08T13"}
    assert runs.with_params("collect_and_rate", **hours).state == "success"

    for _ in range(2):
        run = runs.with_params("watch")
        assert run.state == "success"
    assert run.result("look") == {
        "connections": ["billing_alerts", "on_call"], "alerts": ["fact_lag jp-1"],
    }  # fmt: skip
    assert [path for path, _, _ in receiver.posts] == ["/", "/x"]
    document = receiver.documents[0]
    assert (document["kind"], document["since"]) == ("opened", "2026-04-08T16:00:00Z")
    assert receiver.documents[1] == {"text": document["text"]}

    monkeypatch.setenv("BILLING_ALERT_FACT_LAG", "off")
    runs.with_params("watch")
    assert [each.get("kind") for each in receiver.documents[2:]] == ["resolved", None]


def test_a_receiver_that_is_away_fails_the_run_and_gets_its_notice_later(
    exporters: Exporters, database_url: str, connect: Any, receiver: HttpReceiver
) -> None:
    from billing_airflow.watching import look_around

    connect(conn_type="http", host=receiver.url, password=SECRET)
    open_a_finding(database_url)
    engine = Engine(Settings.from_environment(os.environ))
    receiver.status = 503
    with pytest.raises(RetryableError, match="billing_alerts: expected 2xx, got 503"):
        look_around(engine)
    receiver.status = 200
    for _ in range(2):
        look_around(engine)
    in_vain, taken = receiver.documents
    assert (in_vain["id"], in_vain["kind"]) == (taken["id"], "opened")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "connection on_call: expected one, got none that Airflow can read"),
        ("{not json", "connection on_call: expected JSON or an address in AIRFLOW_CONN_ON_CALL"),
    ],
)
def test_a_connection_that_cannot_be_read_fails_the_run_and_the_others_are_told(
    exporters: Exporters, database_url: str, connect: Any, receiver: HttpReceiver,
    monkeypatch: pytest.MonkeyPatch, value: str | None, text: str,
) -> None:  # fmt: skip
    from billing_airflow.watching import look_around

    connect(conn_type="http", host=receiver.url)
    monkeypatch.setenv("BILLING_ALERT_CONNECTIONS", "on_call,billing_alerts")
    if value is not None:
        monkeypatch.setenv("AIRFLOW_CONN_ON_CALL", value)
    open_a_finding(database_url)
    engine = Engine(Settings.from_environment(os.environ))
    with pytest.raises(RetryableError, match=text) as caught:
        look_around(engine)
    assert "not json" not in str(caught.value)
    assert [each["rule"] for each in receiver.documents] == ["open_findings"]

    # Whoever puts it right finds everything that is open there.
    connect("on_call", conn_type="slackwebhook", host=receiver.url, password="x")
    look_around(engine)
    assert [path for path, _, _ in receiver.posts] == ["/", "/x"]


def test_only_the_default_connection_may_be_missing(
    exporters: Exporters, database_url: str, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from billing_airflow.watching import look_around

    open_a_finding(database_url)
    summary = look_around(Engine(Settings.from_environment(os.environ)))
    assert summary == {"connections": [], "alerts": ["open_findings conflicting_samples"]}
    monkeypatch.setenv("AIRFLOW_CONN_BILLING_ALERTS", "{not json")
    with pytest.raises(RetryableError, match="billing_alerts: expected JSON or an address"):
        look_around(Engine(Settings.from_environment(os.environ)))


def test_a_receiver_that_stays_away_is_told_to_the_others_once(
    exporters: Exporters,
    database_url: str,
    connect: Any,
    receiver: HttpReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It fails every run of `watch`; the alert about that is one and the same, until it is over."""
    from billing_airflow.policy import tell_failure
    from billing_airflow.watching import look_around

    monkeypatch.setenv("BILLING_ALERT_CONNECTIONS", "billing_alerts,on_call")
    connect(conn_type="http", host=receiver.url)
    open_a_finding(database_url)
    engine = Engine(Settings.from_environment(os.environ))
    with http_receiver() as away:
        connect("on_call", conn_type="http", host=away.url)
        away.status = 500
        for number in range(3):
            with pytest.raises(RetryableError, match="on_call: expected 2xx, got 500"):
                look_around(engine)
            tell_failure({"dag": Watch, "run_id": f"scheduled__{number}"})
        away.status, in_vain = 200, len(away.posts)
        look_around(engine)
        came = [(each["kind"], each["rule"]) for each in away.documents[in_vain:]]
    told = [(each["kind"], each["rule"]) for each in receiver.documents]
    expected = [("opened", "open_findings"), ("opened", "dag_failed"), ("resolved", "dag_failed")]
    assert told == came == expected
    assert len({each["id"] for each in receiver.documents}) == 3


def open_a_finding(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into billing_core.findings (kind, subject, message, run_id)"
            " values ('conflicting_samples', 'x', 'x', 0)"
        )


class Watch:
    dag_id = "watch"


class Dag:
    dag_id = "reconcile"


def test_a_failed_run_is_told_until_one_succeeds(
    exporters: Exporters, database_url: str, connect: Any, receiver: HttpReceiver
) -> None:
    from billing_airflow.policy import tell_failure, tell_success

    connect(conn_type="http", host=receiver.url)
    for run_id in ("scheduled__1", "scheduled__2"):
        tell_failure({"dag": Dag, "run_id": run_id, "reason": "task_failure"})
    tell_success({"dag": Dag, "run_id": "scheduled__3"})
    tell_success({"dag": Dag, "run_id": "scheduled__4"})
    kinds = [(each["kind"], each["rule"], each["subject"]) for each in receiver.documents]
    assert kinds == [("opened", "dag_failed", "reconcile"), ("resolved", "dag_failed", "reconcile")]
    assert receiver.documents[0]["what"] == "DAG reconcile: run scheduled__1 failed"
    assert "/dags/reconcile/runs/scheduled__1" in receiver.documents[0]["remedy"]


def test_a_failure_is_told_also_when_the_database_is_what_fails(
    exporters: Exporters, connect: Any, receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from billing_airflow.policy import tell_failure, tell_success

    monkeypatch.setenv("DATABASE_URL", f"postgresql://billing:{SECRET}@127.0.0.1:1/billing")
    connect(conn_type="http", host=receiver.url)
    for _ in range(2):
        tell_failure({"dag": Dag, "run_id": "scheduled__1"})
    tell_success({"dag": Dag, "run_id": "scheduled__2"})
    assert [each["rule"] for each in receiver.documents] == ["dag_failed", "dag_failed"]
    assert len({each["id"] for each in receiver.documents}) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EXPORTER_SOURCES_JSON", "[{"),
        ("EXPORTER_SOURCES_JSON", '[{"source_id": "a", "base_url": "http://127.0.0.1:1",'
         ' "token_env": "NOT_SET"}]'),
        ("BILLING_RETENTION", "facts=soon"),
        ("BILLING_ALERT_FACT_LAG", "late"),
    ],
)  # fmt: skip
def test_a_malformed_setting_fails_every_run_and_that_is_told_once(
    exporters: Exporters, database_url: str, connect: Any, receiver: HttpReceiver,
    monkeypatch: pytest.MonkeyPatch, name: str, value: str,
) -> None:  # fmt: skip
    from billing_airflow.policy import tell_failure

    connect(conn_type="http", host=receiver.url)
    monkeypatch.setenv(name, value)
    with pytest.raises(BillingError):
        Settings.from_environment(os.environ)
    for run_id in ("scheduled__1", "scheduled__2"):
        tell_failure({"dag": Dag, "run_id": run_id})
    assert [(each["rule"], each["subject"]) for each in receiver.documents] == [
        ("dag_failed", "reconcile")
    ]


def test_a_malformed_setting_of_the_alerts_themselves_keeps_no_failure_from_being_told(
    exporters: Exporters, connect: Any, receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from billing_airflow.policy import tell_failure

    connect("on_call", conn_type="http", host=receiver.url)
    monkeypatch.setenv("BILLING_ALERT_CONNECTIONS", "on_call")
    monkeypatch.setenv("BILLING_ALERT_REMINDER", "often")
    tell_failure({"dag": Dag, "run_id": "scheduled__1"})
    assert [each["rule"] for each in receiver.documents] == ["dag_failed"]


@pytest.mark.parametrize(("run_type", "told"), [("scheduled", 1), ("manual", 0), ("backfill", 0)])
def test_only_a_scheduled_run_can_be_late(
    exporters: Exporters, connect: Any, receiver: HttpReceiver, run_type: str, told: int
) -> None:
    from billing_airflow.policy import tell_late

    connect(conn_type="http", host=receiver.url)
    deadline = {"id": "x", "deadline_time": datetime(2026, 4, 8, 14, tzinfo=UTC)}
    run = {"dag_id": "reconcile", "dag_run_id": "r", "run_type": run_type}
    tell_late({"dag_run": run, "deadline": deadline})
    assert [each["since"] for each in receiver.documents] == ["2026-04-08T14:00:00Z"] * told


def snapshot(at: str) -> dict[str, Any]:
    account = "6b1f6f0e-58d4-4a0c-9d9d-2f6f2f1f8a01"
    values = {"uuid": account, "email": "unknown", "inbound_tag": "tcp"}
    totals = {"uplink_bytes_total": 1, "downlink_bytes_total": 1}
    return {"collected_at": at, "node_id": "n", "env": "prod", "samples": [values | totals]}
