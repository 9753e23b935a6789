"""No secret is told: not by commands, logs, tracebacks, HTTP answers, tables or objects.

Every secret that a run is given is looked for in everything that it leaves, on the way of success
and on every way of failure, with every library's own log switched on as far as it goes.
"""

import asyncio
import base64
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest
from database_logins import PASSWORD, address, grant
from pipeline.harness import DAY, TOKEN, Answer, Line, command, readings, worked_example
from psycopg import sql

from billing_etl.errors import BillingError
from billing_etl.hours import HourRange, parse_hour
from billing_etl.http.access import ServiceToken
from billing_etl.http.app import create_app
from billing_etl.http.local_jobs import LocalJobs
from billing_etl.http.site import Site as HttpSite
from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.pipeline.collect import collect_hours
from billing_etl.pipeline.deliver import deliver_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.reconcile import reconcile_hours
from billing_etl.settings import Settings
from billing_etl.store import roles

HOURS = ("--from", f"{DAY}T11", "--to", f"{DAY}T14")
AFTER = readings(("13:30:03", 10, 20), ("2026-04-08T14:00:03Z", 10, 20))
WRONG = "wr0ng-Pa55"
OTHER_TOKEN = "t0ken-of-an0ther"
# Loggers of everything that sees a secret.
LIBRARIES = (
    "", "billing_etl", "httpx", "httpcore", "botocore", "boto3", "urllib3", "s3transfer",
    "psycopg", "asyncio", "fastapi", "uvicorn",
)  # fmt: skip


@dataclass
class Site:
    """A line with its secrets, and everything that it was seen to tell."""

    line: Line
    environment: dict[str, str]
    s3: Any
    bucket: str
    secrets: dict[str, str]
    told: list[str] = field(default_factory=list)

    def run(self, *arguments: str, code: int = 0, **more: str) -> Answer:
        answer = command(self.environment | more, *arguments)
        assert answer.code == code, answer.out + answer.err
        self.told += [answer.out, answer.err]
        return answer

    def engine(self, **more: str) -> Engine:
        engine = Engine(Settings.from_environment(self.environment | more))
        self.told += [repr(engine), repr(engine.settings), str(engine.settings.sources)]
        return engine

    def kept(self) -> list[str]:
        """Every row of every table and view, and every object."""
        kept = []
        with psycopg.connect(self.line.database_url) as connection:
            tables = connection.execute(
                "select n.nspname, c.relname from pg_class c join pg_namespace n"
                " on n.oid = c.relnamespace where c.relkind in ('r', 'v')"
                " and n.nspname in ('billing_core', 'billing', 'account_read_model')"
            ).fetchall()
            for table in tables:
                rows = connection.execute(
                    sql.SQL("select t::text from {} t").format(sql.Identifier(*table))
                )
                kept += [row for (row,) in rows]
        for entry in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", ()):
            body = self.s3.get_object(Bucket=self.bucket, Key=entry["Key"])
            kept += [json.dumps(body["Metadata"]), body["Body"].read().decode("latin-1")]
        return kept

    def assert_nothing_is_told(self) -> None:
        everything = "\n".join([*self.told, *self.kept()])
        assert len(everything) > 10_000
        for name, secret in self.secrets.items():
            for spelled in (secret, quote(secret, safe=""), base64.b64encode(secret.encode())):
                text = spelled if isinstance(spelled, str) else spelled.decode()
                assert text not in everything, name


@pytest.fixture
def site(
    line: Line, login: str, bucket: str, s3: Any, object_store: EmbeddedObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> Site:  # fmt: skip
    grant(line.database_url, roles.PIPELINE, login)
    line.serve([*worked_example(), *AFTER])
    environment = line.environment(
        DATABASE_URL=address(line.database_url, login),
        BILLING_S3_ENABLED="true",
        BILLING_S3_BUCKET=bucket,
        BILLING_S3_ENDPOINT_URL=object_store.endpoint_url,
        AWS_ACCESS_KEY_ID=object_store.access_key,
        AWS_SECRET_ACCESS_KEY=object_store.secret_key,
        AWS_REGION="us-east-1",
        AWS_EC2_METADATA_DISABLED="true",
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, environment[name])
    secrets = {
        "database password": PASSWORD,
        "secret key": object_store.secret_key,
        "token": TOKEN,
        "wrong password": WRONG,
        "token of another": OTHER_TOKEN,
    }
    return Site(line, environment, s3, bucket, secrets)


@contextmanager
def listening(site: Site, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Everything that is logged, by whoever, with tracebacks; levels that were set are undone."""
    for name in LIBRARIES:
        caplog.set_level(logging.DEBUG, logger=name)
    yield
    assert len(caplog.text) > 1000
    site.told.append(caplog.text)


def wrong_password(site: Site) -> str:
    return site.environment["DATABASE_URL"].replace(PASSWORD, WRONG)


def failures(site: Site) -> dict[str, dict[str, str]]:
    """Ways to fail, as what is set otherwise."""
    sources = json.loads(site.environment["EXPORTER_SOURCES_JSON"])
    away = [source | {"base_url": "http://127.0.0.1:1"} for source in sources]
    return {
        "wrong password": {"DATABASE_URL": wrong_password(site)},
        "database away": {"DATABASE_URL": f"postgresql://billing:{WRONG}@127.0.0.1:1/billing"},
        "no such database": {"DATABASE_URL": site.environment["DATABASE_URL"] + "x"},
        "unreadable address": {"DATABASE_URL": f"postgresql://billing:{WRONG}@127.0.0.1:x/b"},
        "wrong token": {"INTERNAL_SERVICE_TOKEN": OTHER_TOKEN},
        "exporter away": {"EXPORTER_SOURCES_JSON": json.dumps(away)},
        "credentials in the address": {
            "EXPORTER_SOURCES_JSON": json.dumps(
                [source | {"base_url": f"http://u:{OTHER_TOKEN}@127.0.0.1:1"} for source in sources]
            )
        },
        "wrong secret key": {"AWS_SECRET_ACCESS_KEY": WRONG},
        "object store away": {"BILLING_S3_ENDPOINT_URL": "http://127.0.0.1:1"},
        "keys in the address": {"BILLING_S3_ENDPOINT_URL": f"http://k:{WRONG}@127.0.0.1:1"},
    }


def test_commands_tell_no_secret(site: Site) -> None:
    for arguments in (
        ("pipeline", *HOURS, "-v"),
        ("reconcile", *HOURS, "--deep", "--json"),
        ("status", "--json"),
        ("findings", "list", "--all"),
        ("price", "list"),
        ("statement", "--day", DAY, "--sign", "--despite", "hours are missing", "-v"),
    ):
        site.run(*arguments)
    site.assert_nothing_is_told()


@pytest.mark.parametrize(
    "way",
    [
        "wrong password", "database away", "no such database", "unreadable address", "wrong token",
        "exporter away", "credentials in the address", "wrong secret key", "object store away",
        "keys in the address",
    ],
)  # fmt: skip
def test_commands_that_fail_tell_no_secret(
    site: Site, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("billing_etl.exporter.client.MAX_ATTEMPTS", 1)
    changed = failures(site)[way]
    answer = command(site.environment | changed, "pipeline", *HOURS, "-v")
    assert answer.code in {1, 2}
    assert answer.err.startswith(("billing-etl:", "INFO", "WARNING", "ERROR"))
    assert "Traceback" not in answer.err
    site.told += [answer.out, answer.err, "x" * 10_000]
    site.assert_nothing_is_told()


def test_logs_and_tracebacks_tell_no_secret(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every library at DEBUG, and every error logged with all that led to it."""
    hours = HourRange(parse_hour(f"{DAY}T11"), parse_hour(f"{DAY}T14"))
    log = logging.getLogger("billing_etl.test")
    with listening(site, caplog):
        for changed in ({}, *failures(site).values()):
            for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
                monkeypatch.setenv(name, (site.environment | changed)[name])
            for work in (
                lambda engine: collect_hours(engine, engine.settings.sources, [hours.start.next]),
                lambda engine: deliver_hours(engine, hours),
                lambda engine: reconcile_hours(engine, hours, deep=True),
            ):
                try:
                    work(site.engine(**changed))
                except BillingError:
                    log.exception("it failed")
                except Exception:
                    log.exception("it failed in another way")
    assert caplog.text.count("Traceback") > 5
    site.assert_nothing_is_told()


def test_http_answers_tell_no_secret(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.run("pipeline", *HOURS)
    with listening(site, caplog):
        for changed in ({}, {"DATABASE_URL": wrong_password(site)}):
            asyncio.run(ask_everything(site, Settings.from_environment(site.environment | changed)))
    site.assert_nothing_is_told()


async def ask_everything(site: Site, settings: Settings) -> None:
    """Every route by every method that it has, with the right, a wrong and no token."""
    jobs = LocalJobs(settings, lambda engine, request: None)
    app = create_app(
        HttpSite(site.environment, lambda: Engine(settings), ServiceToken(TOKEN), jobs)
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://billing") as client:
        for route in app.routes:
            path = str(getattr(route, "path", "")).replace("{name:path}", "page.js")
            for method in getattr(route, "methods", None) or {"GET"}:
                for token in (TOKEN, OTHER_TOKEN, ""):
                    headers = {"Authorization": f"Bearer {token}"}
                    answer = await client.request(method, path, headers=headers)
                    site.told += [answer.text, str(answer.headers)]


def test_the_table_that_tells_who_is_asked_has_no_secrets(site: Site) -> None:
    """Nothing of a source is stored but its name and pace."""
    site.run("pipeline", *HOURS)
    columns = site.line.rows(
        "select attname from pg_attribute where attrelid = 'billing_core.sources'::regclass"
        " and attnum > 0 and not attisdropped"
    )
    assert not any("url" in name or "token" in name for (name,) in columns)
