"""``billing-etl serve``: a real server, a real database, and callers with and without a token."""

import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from pipeline.harness import (
    DAY,
    HISTORY,
    LATE_SNAPSHOT,
    TOKEN,
    Answer,
    Line,
    answer_of,
    command,
    ledger,
    line,
    process,
    row_versions,
    source_hour,
    usage,
    worked_example,
)

__all__ = ["line"]

HOUR_12 = {"from_hour": f"{DAY}T12", "to_hour": f"{DAY}T13"}
HOUR_11 = {"from_hour": f"{DAY}T11", "to_hour": f"{DAY}T12"}
COLLECT = "/v1/jobs/collect-and-rate"
RECONCILE = "/v1/jobs/reconcile"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PATIENCE_SECONDS = 60


@dataclass
class Served:
    """A running ``billing-etl serve``."""

    line: Line
    base_url: str
    process: Any

    def client(self, token: str | None = TOKEN) -> httpx.Client:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.base_url, headers=headers, timeout=PATIENCE_SECONDS)

    def health(self) -> tuple[int, str, str]:
        answer = httpx.get(f"{self.base_url}/healthz")
        return answer.status_code, answer.json()["status"], answer.json()["message"]

    def wait(self, run_id: str) -> dict[str, Any]:
        """The report of a run once it has ended."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self.client() as client:
            while True:
                report = client.get("/v1/status", params={"run_id": run_id}).json()
                if report["status"] not in {"queued", "running"}:
                    return dict(report)
                assert time.monotonic() < deadline, report
                time.sleep(0.05)


@contextmanager
def serving(line: Line, **more: str) -> Iterator[Served]:
    environment = line.environment(LISTEN_ADDR="127.0.0.1:0", **more)
    running = process(environment, "serve")
    try:
        assert running.stdout is not None
        address = re.fullmatch(r"serving on (http://127\.0\.0\.1:\d+)\n", running.stdout.readline())
        assert address, answer_of(running)
        yield Served(line, address[1], running)
    finally:
        running.kill()
        running.communicate()


@pytest.fixture
def served(line: Line) -> Iterator[Served]:
    line.serve(worked_example())
    image = f"registry.example.com/billing:sha-{COMMIT}"
    with serving(line, IMAGE=image, SOURCE_REVISION="rev-7") as served:
        yield served


@contextmanager
def held_source(line: Line, source_id: str = "jp-1") -> Iterator[None]:
    """Keeps whoever collects the source waiting."""
    with psycopg.connect(line.database_url) as connection:
        connection.execute(
            "select pg_advisory_lock(hashtextextended('billing_etl source ' || %s, 0))",
            (source_id,),
        )
        yield


# --- who may ---------------------------------------------------------------------------------


CREDENTIALS = [
    None, "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer tökén",
    f"Basic {TOKEN}", f"Token {TOKEN}", TOKEN,
]  # fmt: skip


def test_without_the_token_only_open_routes_answer(served: Served) -> None:
    for credentials in CREDENTIALS:
        headers = [] if credentials is None else [(b"Authorization", credentials.encode())]
        with httpx.Client(base_url=served.base_url, headers=headers) as client:
            assert client.get("/api/ping").status_code == 200
            assert client.get("/healthz").status_code == 200
            refused = [
                client.get("/readyz"),
                client.get("/v1/status"),
                client.post(COLLECT, params=HOUR_12),
                client.post(RECONCILE, params=HOUR_12),
                client.post(RECONCILE, params={"from_hour": "nonsense"}),
            ]
        assert [answer.status_code for answer in refused] == [401] * 5, credentials
        assert {answer.headers["WWW-Authenticate"] for answer in refused} == {"Bearer"}
        assert {answer.json()["detail"] for answer in refused} == {
            "expected a valid bearer token, got none"
        }
    assert served.line.rows("select count(*) from billing_core.runs") == [(0,)]


def test_ping_tells_the_image_and_status_the_revision(served: Served) -> None:
    image = f"registry.example.com/billing:sha-{COMMIT}"
    answer = httpx.get(f"{served.base_url}/api/ping")
    assert answer.json() == {
        "image": image, "tag": f"sha-{COMMIT}", "commit": COMMIT, "version": COMMIT,
    }  # fmt: skip
    with served.client() as client:
        status = client.get("/v1/status").json()
    assert (status["image"], status["source_revision"]) == (image, "rev-7")


def test_ping_without_an_image_is_empty(line: Line) -> None:
    with serving(line) as served:
        answer = httpx.get(f"{served.base_url}/api/ping")
    assert answer.json() == {"image": "", "tag": "", "commit": "", "version": ""}


# --- jobs ------------------------------------------------------------------------------------


def test_a_job_collects_and_rates_and_a_second_one_changes_nothing(served: Served) -> None:
    with served.client() as client:
        before = client.get("/v1/status").json()
        first = client.post(COLLECT, params=HOUR_12)
        stored = row_versions(served.line, *HISTORY)
        second = client.post(COLLECT, json=HOUR_12)
        status = client.get("/v1/status").json()

    assert (before["job"], before["status"], before["started_at"]) == ("", None, None)
    assert (first.status_code, second.status_code) == (200, 200), first.text
    report = first.json()
    assert sum(usage(served.line).values()) == 170
    assert [entry.rated_bytes for entry in ledger(served.line)] == [70]
    assert (report["job"], report["status"], report["error"]) == ("collect-and-rate", "ok", "")
    counts = ("processed_samples", "written_minutes", "replayed_minutes")
    assert [report[name] for name in counts] == [5, 4, 0]
    assert [second.json()[name] for name in counts] == [5, 0, 4]
    assert [source["source_id"] for source in report["sources"]] == ["jp-1"]
    started = datetime.fromisoformat(report["started_at"])
    assert started <= datetime.fromisoformat(report["finished_at"])
    assert row_versions(served.line, *HISTORY) == stored
    assert status["run_id"] == second.json()["run_id"] != report["run_id"]
    assert served.health() == (200, "ok", "")


def test_a_wrong_method_is_405(served: Served) -> None:
    with served.client() as client:
        answers = [
            client.get(COLLECT), client.put(COLLECT), client.delete(RECONCILE),
            client.post("/v1/status"), client.post("/healthz"), client.post("/api/ping"),
        ]  # fmt: skip
        missing = client.get("/v1/jobs/nothing")
    assert [answer.status_code for answer in answers] == [405] * 6
    assert answers[0].headers["Allow"] == "POST"
    assert {answer.headers["Cache-Control"] for answer in [*answers, missing]} == {"no-store"}
    assert missing.status_code == 404


BAD_INPUT: list[tuple[dict[str, Any], int]] = [
    ({"params": {"from_hour": f"{DAY}T12"}}, 400),
    ({"params": HOUR_12 | {"sources": "us-9"}}, 400),
    ({"params": HOUR_12 | {"minute": "5"}}, 400),
    ({"json": {"from_hour": "2969-01-01T00", "to_hour": "2969-01-01T01"}}, 400),
    ({"content": b'{"from_hour": '}, 400),
    ({"content": b"[" * 5000}, 400),
    ({"content": b'{"wait": true, "wait": false}'}, 400),
    ({"data": {"wait": "false"}}, 400),
    ({"content": rb'{"from_hour": "\ud800\u2028", "to_hour": "\u0000\n"}'}, 400),
    ({"json": {"dry_run": "maybe"}}, 400),
    ({"content": b"\xff\xfe"}, 400),
    ({"json": {"from_hour": "x" * 50_000, "to_hour": f"{DAY}T12"}}, 400),
    ({"content": b" " * 70_000}, 413),
]


def test_bad_input_is_one_line_and_starts_nothing(served: Served) -> None:
    with served.client() as client:
        for arguments, status in BAD_INPUT:
            answer = client.post(COLLECT, **arguments)
            assert answer.status_code == status, arguments
            assert answer.headers["Cache-Control"] == "no-store"
            assert set(answer.json()) == {"detail"}
            assert "\n" not in answer.json()["detail"]
            assert len(answer.json()["detail"]) <= 1000
            assert TOKEN not in answer.text
        for params in ({"job": "x"}, {"run_id": "a b"}, {"run_id": "\0"}, {"run_id": "x" * 251}):
            assert client.get("/v1/status", params=params).status_code == 400, params
    assert served.line.rows("select count(*) from billing_core.runs") == [(0,)]


def test_jobs_run_one_at_a_time_and_the_same_one_not_twice(served: Served) -> None:
    with served.client() as client:
        with held_source(served.line):
            started = client.post(COLLECT, params=HOUR_12 | {"wait": "false"})
            waited = client.post(COLLECT, json=HOUR_11 | {"wait_seconds": 1})
            again = client.post(COLLECT, json=HOUR_12)
            status = client.get("/v1/status", params={"run_id": waited.json()["run_id"]})
        first, second = (served.wait(answer.json()["run_id"]) for answer in (started, waited))
        unknown = client.get("/v1/status", params={"run_id": "nobody"})

    assert (started.status_code, waited.status_code, again.status_code) == (202, 202, 409)
    assert started.json()["status"] in {"queued", "running"}
    assert status.json()["status"] == waited.json()["status"] == "queued"
    assert again.json()["run_id"] == started.json()["run_id"]
    assert (first["status"], second["status"], second["written_minutes"]) == ("ok", "ok", 0)
    assert first["finished_at"] <= second["started_at"]
    assert unknown.status_code == 404
    # After its end the same job may run again.
    with served.client() as client:
        assert client.post(COLLECT, params=HOUR_12).status_code == 200


def test_a_source_that_fails_holds_no_other_back_and_health_tells(served: Served) -> None:
    line = served.line
    line.sources["de-1"] = {"source_id": "de-1", "base_url": "http://127.0.0.1:1"}
    with serving(line) as both:
        with both.client() as client:
            partial = client.post(COLLECT, params=HOUR_12)
            failed = client.post(COLLECT, params=HOUR_12 | {"sources": "de-1"})
        degraded = both.health()
        with both.client() as client:
            assert client.post(COLLECT, params=HOUR_12 | {"sources": "jp-1"}).status_code == 200
        assert both.health() == (200, "ok", "")

    assert (partial.status_code, partial.json()["status"]) == (200, "partial")
    assert "de-1" in partial.json()["error"]
    assert sum(usage(line).values()) == 170
    assert (failed.status_code, failed.json()["status"]) == (503, "error")
    run_id = failed.json()["run_id"]
    assert degraded == (503, "degraded", f"collect-and-rate {run_id} ended with error")
    assert TOKEN not in partial.text + failed.text


def test_a_dry_run_says_what_would_change_and_changes_nothing(served: Served) -> None:
    line = served.line
    before = row_versions(line)
    with served.client() as client:
        answer = client.post(COLLECT, params=HOUR_12 | {"dry_run": "true"})
        found = client.get("/v1/status", params={"run_id": answer.json()["run_id"]}).json()
        latest = client.get("/v1/status").json()
        refused = client.post(RECONCILE, json=HOUR_12 | {"dry_run": True})
    assert (answer.status_code, refused.status_code) == (200, 400), answer.text
    report = answer.json()
    assert (report["job"], report["status"], report["written_minutes"]) == (
        "collect-and-rate", "ok", 0,
    )  # fmt: skip
    assert report["would_change"] == {
        "dry_run": True, "hours": f"[{DAY}T12, {DAY}T13)", "source_hours": 1, "hours_changed": 1,
        "accounts_changed": 1, "bytes_before": 0, "bytes_after": 170, "bytes_difference": 170,
        "amount_before": "0", "amount_after": "140", "amount_difference": "140",
        "corrections": 0, "failed": 0, "not_compared": 0,
    }  # fmt: skip
    assert found == report | {"image": found["image"], "source_revision": "rev-7"}
    # It is no run that status and health know of.
    assert (latest["job"], latest["status"]) == ("", None)
    assert row_versions(line) == before

    # Done for good it changes what was said, and then there is nothing left to change.
    with served.client() as client:
        done = client.post(COLLECT, params=HOUR_12).json()
        again = client.post(COLLECT, params=HOUR_12 | {"dry_run": "true"}).json()
    assert sum(usage(line).values()) == 170
    assert "would_change" not in done
    assert again["would_change"]["bytes_difference"] == 0
    assert served.health() == (200, "ok", "")


def test_a_dry_run_without_a_source_says_what_its_sums_do_not_hold(served: Served) -> None:
    served.line.sources["de-1"] = {"source_id": "de-1", "base_url": "http://127.0.0.1:1"}
    with serving(served.line) as both, both.client() as client:
        partial = client.post(COLLECT, json=HOUR_12 | {"dry_run": True})
        failed = client.post(COLLECT, json=HOUR_12 | {"dry_run": True, "sources": ["de-1"]})
    assert (partial.status_code, partial.json()["status"]) == (200, "partial"), partial.text
    assert "de-1" in partial.json()["error"]
    sums = partial.json()["would_change"]
    assert (sums["bytes_difference"], sums["source_hours"], sums["failed"]) == (170, 1, 1)
    assert (failed.status_code, failed.json()["status"]) == (503, "error")
    assert (failed.json()["would_change"]["source_hours"]) == 0
    assert usage(served.line) == {}


def test_a_dry_run_is_another_job_than_the_one_it_rehearses(served: Served) -> None:
    dry = HOUR_12 | {"dry_run": "true", "wait": "false"}
    with served.client() as client:
        with held_source(served.line):
            answers = [
                client.post(COLLECT, params=params)
                for params in (dry, HOUR_12 | {"wait": "false"}, dry)
            ]
        reports = [served.wait(answer.json()["run_id"]) for answer in answers[:2]]
    assert [answer.status_code for answer in answers] == [202, 202, 409]
    assert answers[2].json()["run_id"] == answers[0].json()["run_id"]
    assert [report["status"] for report in reports] == ["ok", "ok"]
    assert reports[0]["would_change"]["bytes_difference"] == 170


def test_reconcile_collects_again_what_is_open_or_changed_and_rates_it(served: Served) -> None:
    with served.client() as client:
        assert client.post(COLLECT, params=HOUR_12).status_code == 200
        served.line.serve(worked_example(LATE_SNAPSHOT))
        answer = client.post(RECONCILE, params=HOUR_12)
        status = client.get("/v1/status").json()

    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert (report["job"], report["status"]) == ("reconcile", "ok"), report
    assert status["run_id"] == report["run_id"]
    assert source_hour(served.line, "12")["samples"] == 6
    assert "12:04" in usage(served.line)
    assert report["processed_samples"] == 6
    assert report["written_minutes"] > 0
    billed = sum(entry.rated_bytes for entry in ledger(served.line))
    assert billed == sum(usage(served.line).values()) - 100
    commands = served.line.rows(
        "select external_id from billing_core.runs where command = 'reconcile'"
    )
    assert [row[0].split(" ")[0] for row in commands] == ["reconcile"]
    assert served.health() == (200, "ok", "")


def test_a_difference_that_is_left_is_told(served: Served) -> None:
    with served.client() as client:
        assert client.post(COLLECT, params=HOUR_12).status_code == 200
        served.line.execute(
            "update billing_core.facts set uplink_quantity = uplink_quantity + 1"
            " where minute % 60 = 2"
        )
        answer = client.post(RECONCILE, params=HOUR_12)
    assert (answer.status_code, answer.json()["status"]) == (200, "partial")
    assert "left a difference; see billing.findings" in answer.json()["error"]


# --- health ----------------------------------------------------------------------------------


def test_silence_is_degraded_and_nothing_to_collect_is_not(served: Served) -> None:
    assert served.health() == (200, "ok", "")  # it has only begun
    with served.client() as client:
        assert client.post(COLLECT, params=HOUR_12).status_code == 200
    served.line.execute(
        "update billing_core.runs set started_at = started_at - interval '3 hours',"
        " finished_at = finished_at - interval '2 hours'"
    )
    status, state, message = served.health()
    assert (status, state) == (503, "degraded")
    since = (datetime.now(UTC) - timedelta(hours=2)).strftime("%Y-%m-%dT%H")
    assert message.startswith(f"collect-and-rate has not ended since {since[:10]}")

    served.line.sources.clear()
    with serving(served.line) as without_sources:
        assert without_sources.health() == (200, "ok", "")


def test_without_a_database_it_says_so_and_shows_no_password(line: Line) -> None:
    line.serve(worked_example())
    gone = {"DATABASE_URL": "postgresql://billing:s3cr3t-Pa55@127.0.0.1:1/billing"}
    with serving(line, **gone) as served:
        health = httpx.get(f"{served.base_url}/healthz")
        with served.client() as client:
            answers = [client.get("/readyz"), client.get("/v1/status"), client.post(COLLECT)]
    assert (health.status_code, health.json()) == (
        503, {"status": "degraded", "message": "the database cannot be reached"},
    )  # fmt: skip
    assert [answer.status_code for answer in answers] == [503] * 3
    assert "s3cr3t" not in "".join(answer.text for answer in [health, *answers])


def test_readyz_wants_a_migrated_database(served: Served, empty_database_url: str) -> None:
    with served.client() as client:
        ready = client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "message": ""})
    with serving(served.line, DATABASE_URL=empty_database_url) as empty, empty.client() as client:
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "run `billing-etl migrate` first" in answer.json()["message"]


# --- start and stop ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"INTERNAL_SERVICE_TOKEN": "", "EXPORTER_SOURCES_JSON": ""}, "INTERNAL_SERVICE_TOKEN: "),
        ({"DATABASE_URL": ""}, "DATABASE_URL: "),
        ({"LISTEN_ADDR": "8081"}, "LISTEN_ADDR: expected host:port"),
        ({"LISTEN_ADDR": "127.0.0.1:{port}"}, "LISTEN_ADDR: expected an address that is free"),
    ],
)
def test_what_is_missing_is_one_line_at_start(
    served: Served, setting: dict[str, str], message: str
) -> None:
    port = served.base_url.rpartition(":")[2]
    given = {name: value.format(port=port) for name, value in setting.items()}
    answer: Answer = command(served.line.environment() | given, "serve")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert answer.err.startswith(f"billing-etl: {message}")


def test_sigterm_lets_the_running_job_end(served: Served) -> None:
    with served.client() as client, held_source(served.line):
        run_id = client.post(COLLECT, params=HOUR_12 | {"wait": "false"}).json()["run_id"]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not served.line.rows("select 1 from billing_core.runs where command = 'collect'"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        served.process.send_signal(signal.SIGTERM)
    answer = answer_of(served.process)
    assert answer.code == 0, answer.err
    done = served.line.rows(
        "select distinct status from billing_core.runs where external_id like %s", f"%{run_id}%"
    )
    assert done == [("success",)]
    assert sum(usage(served.line).values()) == 170
