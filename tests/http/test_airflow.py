"""The interface in Airflow's real API server: its users, the service token, runs of DAGs.

No scheduler runs: what is started stays queued. A run to its end is in `tests/e2e`.
"""

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import psycopg
import pytest

from billing_etl.local.airflow import LocalAirflow
from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.local.processes import ManagedProcess, free_ports
from billing_etl.settings import SETTINGS

TOKEN = "service-token"
COLLECT = "/billing/v1/jobs/collect-and-rate"
RECONCILE = "/billing/v1/jobs/reconcile"
NO_WAIT = {"wait": "false"}
PASSWORDS = {"admin": "pw-admin", "viewer": "pw-viewer", "user": "pw-user"}
START_SECONDS = 600


@dataclass(frozen=True)
class ApiServer:
    """Airflow's API server over a metadata database that knows the DAGs."""

    base_url: str
    metadata_url: str
    billing_url: str

    def client(self, user: str | None = None, token: str | None = None) -> httpx.Client:
        if user is not None:
            login = {"username": user, "password": PASSWORDS[user]}
            answer = httpx.post(f"{self.base_url}/auth/token", json=login)
            token = answer.raise_for_status().json()["access_token"]
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.base_url, headers=headers, timeout=60)

    def runs(self) -> int:
        with psycopg.connect(self.metadata_url) as connection:
            row = connection.execute("select count(*) from dag_run").fetchone()
        return int(row[0]) if row else 0


@pytest.fixture(scope="module")
def server(
    postgres_server: EmbeddedPostgres,
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ApiServer]:
    postgres_server.create_database("airflow_http")
    postgres_server.create_database("billing_http", migrated_template)
    home = tmp_path_factory.mktemp("airflow-http")
    task_url = postgres_server.url("billing_http")
    port = free_ports(1)[0]
    # The token of the source is not there: a server that asks no source does without.
    source = {"source_id": "jp-1", "base_url": "http://127.0.0.1:9", "token_env": "TOKEN_JP1"}
    airflow = LocalAirflow(
        home=home,
        metadata_url=postgres_server.url("airflow_http"),
        port=port,
        task_environment=dict.fromkeys(SETTINGS, "")
        | {
            "DATABASE_URL": task_url,
            "EXPORTER_SOURCES_JSON": json.dumps([source]),
            "INTERNAL_SERVICE_TOKEN": TOKEN,
            "IMAGE": "registry.example.com/billing:v1.4.2",
            "SOURCE_REVISION": "rev-7",
        },
    )
    environment = airflow.environment()
    passwords = home / "users.json"
    passwords.write_text(json.dumps(PASSWORDS))
    environment |= {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,viewer:viewer,user:user",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
    }
    command = [sys.executable, "-m", "airflow"]
    for name, *arguments in (("migrate", "db", "migrate"), ("reserialize", "dags", "reserialize")):
        log = home / f"{name}.log"
        with ManagedProcess([*command, *arguments], log=log, environment=environment) as process:
            assert process.wait(START_SECONDS) == 0, log.read_text()
    log = home / "api-server.log"
    serve = [*command, "api-server", "--host", "127.0.0.1", "--port", str(port)]
    with ManagedProcess(serve, log=log, environment=environment) as process:
        deadline = time.monotonic() + START_SECONDS
        while not answers(airflow.url):
            assert process.exit_code is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield ApiServer(airflow.url, postgres_server.url("airflow_http"), task_url)


def answers(base_url: str) -> bool:
    try:
        return httpx.get(f"{base_url}/billing/api/ping").status_code == 200
    except httpx.TransportError:
        return False


def hours(first: int) -> dict[str, str]:
    """One hour of a day, another one for each test: runs stay queued."""
    return {"from_hour": f"2026-04-08T{first:02}", "to_hour": f"2026-04-08T{first + 1:02}"}


# --- who may ---------------------------------------------------------------------------------


def test_anonymous_callers_get_ping_and_health_and_nothing_else(server: ApiServer) -> None:
    for token in (None, "wrong", TOKEN + "x", "a.b.c"):
        with server.client(token=token) as client:
            ping, health = client.get("/billing/api/ping"), client.get("/billing/healthz")
            refused = [
                client.get("/billing/readyz"),
                client.get("/billing/v1/status"),
                client.post(COLLECT, params=NO_WAIT),
                client.post(RECONCILE, params={"from_hour": "nonsense"}),
            ]
            hidden = client.get("/billing/docs"), client.get("/billing/openapi.json")
        assert ping.json() == {
            "image": "registry.example.com/billing:v1.4.2",
            "tag": "v1.4.2",
            "commit": "",
            "version": "v1.4.2",
        }
        assert (health.status_code, health.json()) == (200, {"status": "ok", "message": ""})
        assert [answer.status_code for answer in refused] == [401] * 4, token
        assert [answer.status_code for answer in hidden] == [404] * 2
    assert server.runs() == 0


def test_a_viewer_may_look_and_start_nothing(server: ApiServer) -> None:
    before = server.runs()
    with server.client("viewer") as client:
        looked = [client.get("/billing/readyz"), client.get("/billing/v1/status")]
        refused = [client.post(COLLECT, params=NO_WAIT), client.post(RECONCILE, params=NO_WAIT)]
    assert [answer.status_code for answer in looked] == [200, 200]
    assert looked[1].json()["source_revision"] == "rev-7"
    assert [answer.status_code for answer in refused] == [403, 403]
    assert server.runs() == before


@pytest.mark.parametrize(("caller", "hour"), [("admin", 1), ("user", 2), (None, 3)])
def test_who_may_trigger_a_dag_or_has_the_token_starts_jobs(
    server: ApiServer, caller: str | None, hour: int
) -> None:
    with server.client(caller, token=None if caller else TOKEN) as client:
        answer = client.post(COLLECT, params=NO_WAIT | hours(hour) | {"sources": "jp-1"})
    assert answer.status_code == 202, answer.text
    report = answer.json()
    assert (report["job"], report["status"]) == ("collect-and-rate", "queued")
    assert report["error"] == "it waits as DAG collect_and_rate is paused; switch it on"

    with server.client("admin") as client:
        run = client.get(f"/api/v2/dags/collect_and_rate/dagRuns/{report['run_id']}").json()
        status = client.get("/billing/v1/status", params={"run_id": report["run_id"]}).json()
    assert run["conf"] == hours(hour) | {"sources": ["jp-1"]}
    assert run["triggering_user_name"] == (caller or "service token")
    assert status["status"] == "queued"


def test_the_session_of_a_browser_counts(server: ApiServer) -> None:
    with server.client("admin") as client:
        token = client.headers["Authorization"].removeprefix("Bearer ")
    with httpx.Client(base_url=server.base_url, cookies={"_token": token}) as browser:
        assert browser.get("/billing/v1/status").status_code == 200


# --- the page --------------------------------------------------------------------------------


@contextmanager
def browser(server: ApiServer, user: str, **headers: str) -> Iterator[httpx.Client]:
    """Knows the user by the cookie of the session, as a browser does."""
    with server.client(user) as client:
        token = client.headers["Authorization"].removeprefix("Bearer ")
    with httpx.Client(
        base_url=server.base_url, cookies={"_token": token}, headers=headers, timeout=60
    ) as client:
        yield client


def test_the_page_is_in_the_navigation_and_its_data_is_for_readers(server: ApiServer) -> None:
    with server.client("admin") as client:
        (plugin,) = client.get("/api/v2/plugins", params={"limit": 50}).json()["plugins"]
    (view,) = plugin["external_views"]
    assert (view["name"], view["destination"], view["href"]) == ("Billing", "nav", "billing/")
    with server.client() as client:
        assert client.get("/billing/").status_code == 200
        assert client.get(f"/{view['icon']}").status_code == 200
        assert client.get("/billing/v1/page/coverage").status_code == 401
    for user, may in (("viewer", False), ("user", True), ("admin", True)):
        with browser(server, user) as client:
            coverage = client.get("/billing/v1/page/coverage").json()
        assert coverage["can_collect"] is may, user
        assert coverage["run_link"] == "/dags/collect_and_rate/runs/{run_id}"
        assert coverage["never"] == ["jp-1"]


def test_another_site_cannot_start_a_job_with_the_users_cookie(server: ApiServer) -> None:
    before = server.runs()
    job = hours(8) | {"sources": ["jp-1"], "wait": False}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    text = {"Content-Type": "text/plain"}
    with browser(server, "admin") as client:
        refused = [
            client.post(COLLECT, params=hours(8) | NO_WAIT),
            client.post(COLLECT, data={"wait": "false"}, headers=form),
            client.post(COLLECT, content=json.dumps(job), headers=text),
            client.post(COLLECT, json=job, headers={"Sec-Fetch-Site": "cross-site"}),
            client.post(COLLECT, json=job, headers={"Sec-Fetch-Site": "same-site"}),
        ]
        assert [answer.status_code for answer in refused] == [415, 415, 415, 403, 403]
        assert server.runs() == before
        answer = client.post(COLLECT, json=job, headers={"Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 202
    with browser(server, "viewer") as client:
        assert client.post(COLLECT, json=job).status_code == 403


def test_a_failed_hour_has_the_log_of_its_task(server: ApiServer) -> None:
    """Also while that is about to try again, when Airflow does not know its name."""
    with server.client(token=TOKEN) as client:
        run_id = client.post(COLLECT, params=hours(20) | NO_WAIT).json()["run_id"]
    with psycopg.connect(server.metadata_url) as connection:
        connection.execute(
            "update task_instance set map_index = 2, state = 'up_for_retry'"
            " where run_id = %s and task_id = 'collect'",
            (run_id,),
        )
    run = f"/dags/collect_and_rate/runs/{run_id}"
    expected = {
        None: None,
        "make run": None,
        "collect_and_rate gone collect[2]": None,
        f"collect_and_rate {run_id} nothing": None,
        f"collect_and_rate {run_id} collect[2]": f"{run}/tasks/collect/mapped/2",
        f"collect_and_rate {run_id} collect[3]": run,
        f"collect_and_rate {run_id} rate": f"{run}/tasks/rate",
    }
    with psycopg.connect(server.billing_url, autocommit=True) as connection:
        connection.execute(
            "insert into billing_core.sources (source_id, kind, enabled, interval_seconds)"
            " values ('jp-1', 'counter_exporter', true, 60)"
        )
        for hour, external_id in enumerate(expected):
            connection.execute(
                "with run as (insert into billing_core.runs (command, external_id)"
                " values ('collect', %s) returning run_id)"
                " insert into billing_core.failed_source_hours (source_key, hour, error, run_id)"
                " select 1, %s, 'refused', run_id from run",
                (external_id, hour),
            )
    with browser(server, "viewer") as client:
        for hour, link in enumerate(expected.values()):
            at = {"source": "jp-1", "hour": f"1970-01-01T0{hour}"}
            answer = client.get("/billing/v1/page/hour", params=at).json()
            assert (answer["known"]["error"], answer["failed_log_link"]) == ("refused", link)


# --- jobs ------------------------------------------------------------------------------------


def test_the_same_job_is_refused_while_it_is_under_way(server: ApiServer) -> None:
    with server.client(token=TOKEN) as client:
        first = client.post(RECONCILE, json=hours(4) | {"wait_seconds": 1})
        again = client.post(RECONCILE, params=hours(4) | NO_WAIT)
        other = client.post(RECONCILE, params=hours(5) | NO_WAIT)
        with psycopg.connect(server.metadata_url) as connection:
            connection.execute(
                "update dag_run set state = 'failed' where run_id = %s", (first.json()["run_id"],)
            )
        later = client.post(RECONCILE, params=hours(4) | NO_WAIT)
        failed = client.get("/billing/v1/status", params={"run_id": first.json()["run_id"]})

    assert (first.status_code, again.status_code, other.status_code) == (202, 409, 202)
    assert again.json()["run_id"] == first.json()["run_id"]
    assert first.json()["run_id"] in again.json()["detail"]
    assert later.status_code == 202
    assert later.json()["run_id"] == first.json()["run_id"].removesuffix("1") + "2"
    assert failed.json()["status"] == "error"
    assert "see the logs of its tasks in Airflow" in failed.json()["error"]


def test_a_run_that_was_cleared_is_under_way_although_a_newer_one_ended(
    server: ApiServer,
) -> None:
    with server.client(token=TOKEN) as client:

        def post() -> httpx.Response:
            return client.post(COLLECT, params=hours(9) | NO_WAIT)

        def put(run: httpx.Response, state: str) -> None:
            with psycopg.connect(server.metadata_url) as connection:
                connection.execute(
                    "update dag_run set state = %s where run_id = %s", (state, run.json()["run_id"])
                )

        first = post()
        put(first, "success")
        second = post()
        put(second, "success")
        put(first, "queued")
        refused = post()
        put(first, "success")
        third = post()
    assert (refused.status_code, refused.json()["run_id"]) == (409, first.json()["run_id"])
    assert third.json()["run_id"] == second.json()["run_id"].removesuffix("2") + "3"


def test_a_dry_run_is_a_run_of_the_dag_with_its_param(server: ApiServer) -> None:
    before = server.runs()
    dry = hours(10) | NO_WAIT | {"dry_run": "true"}
    with server.client("viewer") as client:
        assert client.post(COLLECT, params=dry).status_code == 403
    with server.client() as client:
        assert client.post(COLLECT, params=dry).status_code == 401
    assert server.runs() == before
    with server.client("user") as client:
        for_good = client.post(COLLECT, params=hours(10) | NO_WAIT)
        rehearsed = client.post(COLLECT, params=dry)
        again = client.post(COLLECT, params=dry)
        run_id = rehearsed.json()["run_id"]
        run = client.get(f"/api/v2/dags/collect_and_rate/dagRuns/{run_id}").json()
    assert [answer.status_code for answer in (for_good, rehearsed, again)] == [202, 202, 409]
    assert again.json()["run_id"] == run_id
    assert run["conf"] == hours(10) | {"dry_run": True}
    assert "would_change" not in rehearsed.json()


def test_of_many_at_once_one_is_started(server: ApiServer) -> None:
    with server.client(token=TOKEN) as client, ThreadPoolExecutor(8) as threads:
        posts = [threads.submit(client.post, COLLECT, params=hours(6) | NO_WAIT) for _ in range(8)]
        codes = sorted(post.result().status_code for post in posts)
    assert codes == [202] + [409] * 7


def test_a_wrong_method_is_405(server: ApiServer) -> None:
    with server.client("admin") as client:
        answers = [client.get(COLLECT), client.put(RECONCILE), client.post("/billing/v1/status")]
    assert [answer.status_code for answer in answers] == [405] * 3


def test_bad_input_is_one_line_and_starts_nothing(server: ApiServer) -> None:
    before = server.runs()
    bad: list[dict[str, str]] = [
        {"from_hour": "2026-04-08T12"},
        {"from_hour": "2026-04-08T12", "to_hour": "2026-04-08T12"},
        {"from_hour": "2026-04-08T12:30:00Z", "to_hour": "2026-04-08T13"},
        {"from_hour": "2969-01-01T00", "to_hour": "2969-01-01T01"},
        {"sources": "jp-9"},
        {"dag_id": "reconcile"},
    ]
    with server.client("admin") as client:
        for params in bad:
            answer = client.post(COLLECT, params=params)
            assert answer.status_code == 400, params
            assert "\n" not in answer.json()["detail"]
        refused = [
            client.post(COLLECT, content=b" " * 70_000),
            client.post(COLLECT, data={"wait": "false"}),
            client.post(COLLECT, content=rb'{"from_hour": "\ud800\u2028", "to_hour": "\u0000"}'),
            client.post(RECONCILE, json={"dry_run": True}),
            client.post(f"{COLLECT}/nothing"),
        ]
    assert [answer.status_code for answer in refused] == [413, 400, 400, 400, 404]
    assert {answer.headers["Cache-Control"] for answer in refused} == {"no-store"}
    assert server.runs() == before


def test_a_dag_that_is_not_there_is_404(server: ApiServer) -> None:
    stale = "update dag set is_stale = %s where dag_id = 'reconcile'"
    with psycopg.connect(server.metadata_url, autocommit=True) as connection:
        connection.execute(stale, (True,))
        try:
            with server.client("admin") as client:
                answer = client.post(RECONCILE, params=hours(7))
        finally:
            connection.execute(stale, (False,))
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("expected a DAG reconcile, got none")
