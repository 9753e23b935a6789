"""``make run``: the whole line on this machine, run by Airflow's own scheduler.

Starts embedded services for whatever the environment does not name, has Airflow collect, rate,
export and reconcile the last whole hours as backfills, and shows what came of it. Everything it
starts ends with it, also when it is killed.
"""

import argparse
import fcntl
import json
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, NoReturn
from urllib.parse import urlsplit

from rich.console import Console

from billing_etl.errors import BillingError, UsageError
from billing_etl.hours import Hour, HourRange
from billing_etl.local.airflow import USER, LocalAirflow
from billing_etl.local.airflow_api import AirflowApi, DagRun
from billing_etl.local.demo_history import HOURS, write_demo_history
from billing_etl.local.object_store import REGION, EmbeddedObjectStore
from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.local.processes import (
    HOST,
    ManagedProcess,
    free_ports,
    is_free,
    wait_until_served,
)
from billing_etl.local.report import is_clean, show_report
from billing_etl.local.shell import write_shell_environment
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.rate import ensure_price
from billing_etl.settings import Settings
from billing_etl.store.migrations import migrate

BILLING_DATABASE: Final = "billing"
AIRFLOW_DATABASE: Final = "airflow"
BUCKET: Final = "serverless-usage-dev"
# Airflow's own name for where its metadata lives; the only way to put it into a given database.
METADATA_SETTING: Final = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
# The hour's line in order; reconciling comes when everything it compares is there.
_LINE: Final = ("collect_and_rate", "export_hourly", "reconcile")
# What goes on beside the line while somebody stays to look.
_BESIDE: Final = ("maintenance", "watch")
_RETENTION_HOURS: Final = 72
# Development exporters serve one hour more than is collected: one to collect by hand.
_DEMO_HOURS: Final = 1
_RUN_SECONDS: Final = 600.0
_WIDTH_WITHOUT_TERMINAL: Final = 170
_S3_SETTINGS: Final = (
    "BILLING_S3_ENDPOINT_URL",
    "BILLING_S3_ENABLED",
    "BILLING_S3_BUCKET",
    "BILLING_ENV",
)
_EXAMPLE_QUERY: Final = "select * from billing.usage_days"
_DEMO_PRICES: Final = {"PRICE_PER_BYTE": "0.00000002", "INITIAL_INCLUDED_QUOTA_BYTES": "50000000"}

_console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL)


@dataclass
class Line:
    """What this run started or was given: the environment of every step."""

    data: Path
    environment: dict[str, str]
    stack: ExitStack
    started: float = field(default_factory=time.monotonic)
    postgres: EmbeddedPostgres | None = None
    embedded_database: bool = False
    demo_stores: list[Path] = field(default_factory=list)

    def say(self, text: str) -> None:
        _console.print(f"[dim]{time.monotonic() - self.started:5.0f} s[/dim]  {text}")

    def given(self, *names: str) -> bool:
        return any(self.environment.get(name) for name in names)

    def demo_hour(self) -> dict[str, str]:
        """The hour that development exporters serve and nobody collects, and its end, by name."""
        if not self.demo_stores:
            return {}
        first = Hour(int((self.data / "exporters" / "first_hour").read_text()))
        return {"DEMO_HOUR": str(first.previous), "DEMO_HOUR_END": str(first)}

    def embedded_postgres(self) -> EmbeddedPostgres:
        if self.postgres is None:
            self.postgres = self.stack.enter_context(EmbeddedPostgres(self.data / "postgres"))
            self.say("PostgreSQL is up")
        return self.postgres


def main(argv: list[str] | None = None) -> int:
    """Runs the line; with ``--once`` the exit code tells whether reconciliation was clean."""
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end by itself after the table")
    once = parser.parse_args(argv).once
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    for name in ("httpx", "httpcore", "botocore"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Said outright for Ctrl-C too: a shell starts background commands with it switched off.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    try:
        with _locked(Path(".data").absolute()) as data, ExitStack() as stack:
            return run_line(Line(data, dict(os.environ), stack), once=once)
    except UsageError as error:
        _console.print(f"make run: {error}", markup=False, soft_wrap=True)
        return 2
    except BillingError as error:
        _console.print(f"make run: {error}", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        _console.print("stopped; everything that was started has ended")
        return 130 if once else 0


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def _locked(data: Path) -> Iterator[Path]:
    """The data directory, held against a second run beside this one."""
    data.mkdir(exist_ok=True)
    with (data / "run.lock").open("w") as lock:
        _take(lock)
        yield data


def _take(lock: IO[str]) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(
            "expected to be the only run of this checkout, got another one; stop that one first"
        ) from None


def run_line(line: Line, *, once: bool) -> int:
    """Starts what is missing, runs the hours, shows the table, and waits for Ctrl-C unless once."""
    _check_given(line)
    now = Hour.of(datetime.now(UTC))
    hours = HourRange(Hour(now.index - HOURS), now)
    prepare_database(line)
    prepare_object_store(line)
    if not line.given("EXPORTER_SOURCES_JSON", "EXPORTER_BASE_URL"):
        start_demo_sources(line, now)
    settings = Settings.from_environment(line.environment)
    ensure_price(Engine(settings, external_id="make run"))

    airflow = local_airflow(line)
    write_shell_environment(line.data / "env", airflow.environment() | line.demo_hour())
    line.say("starting Airflow: scheduler, dag-processor, api-server, triggerer")
    with airflow.running(_RUN_SECONDS) as api:
        line.say(f"Airflow is up at {airflow.url}")
        run_hours(line, api, hours)
        engine = Engine(settings)
        show_report(engine, hours, _console)
        _show_access(line, airflow)
        clean = is_clean(engine, hours)
        if once:
            return 0 if clean else 1
        for dag_id in _BESIDE:
            api.unpause(dag_id)
        _console.print("\nRunning until Ctrl-C.")
        _stay(line)
    raise AssertionError("only an interrupt ends the stay")


def _check_given(line: Line) -> None:
    """Development data never mixes with a given database."""
    if line.given("DATABASE_URL") and not line.given("EXPORTER_SOURCES_JSON", "EXPORTER_BASE_URL"):
        raise UsageError(
            "EXPORTER_SOURCES_JSON: expected sources, as DATABASE_URL is set and development "
            "sources never run against a given database, got nothing; set it or EXPORTER_BASE_URL"
        )
    Settings.from_environment(line.environment)


def prepare_database(line: Line) -> None:
    """The given database, or one in the embedded server; its schema is brought up to date."""
    if not line.given("DATABASE_URL"):
        postgres = line.embedded_postgres()
        postgres.create_database(BILLING_DATABASE)
        line.environment["DATABASE_URL"] = postgres.url(BILLING_DATABASE)
        line.embedded_database = True
    migrate(line.environment["DATABASE_URL"])


def prepare_object_store(line: Line) -> None:
    """The given S3, or an embedded server; none beside a given database, which it would mark."""
    if line.given(*_S3_SETTINGS):
        return
    if not line.embedded_database:
        line.say("S3 is off: DATABASE_URL is given and no BILLING_S3_* setting is")
        return
    store = line.stack.enter_context(EmbeddedObjectStore(line.data / "s3"))
    store.create_bucket(BUCKET)
    line.environment |= {
        "BILLING_S3_ENABLED": "true",
        "BILLING_S3_BUCKET": BUCKET,
        "BILLING_S3_ENDPOINT_URL": store.endpoint_url,
        "AWS_ACCESS_KEY_ID": store.access_key,
        "AWS_SECRET_ACCESS_KEY": store.secret_key,
        "AWS_DEFAULT_REGION": REGION,
    }
    line.say(f"S3 is up at {store.endpoint_url}, bucket {BUCKET}")


def start_demo_sources(line: Line, now: Hour) -> None:
    """Development exporters of both flavours, and a live one of this machine's interfaces."""
    directory = line.data / "exporters"
    directory.mkdir(exist_ok=True)
    token = secrets.token_urlsafe(24)
    exporters = write_demo_history(directory, now, _history_hours(line.data, now))
    line.demo_stores = [exporter.store_file for exporter in exporters]
    ports = free_ports(len(exporters) + 1)
    entries = []
    for exporter, port in zip(exporters, ports[:-1], strict=True):
        listen = f"{HOST}:{port}"
        command = ["-m", "billing_etl", "exporter", "--store", str(exporter.store_file)]
        command += ["--listen", listen, "--flavour", exporter.flavour]
        _start_exporter(line, exporter.store_file.stem, command, token)
        entries.append(exporter.source | {"base_url": f"http://{listen}"})
    listen = f"{HOST}:{ports[-1]}"
    live = ["-m", "billing_etl.local.live_exporter", "--store", str(directory / "live.json")]
    _start_exporter(line, "live", [*live, "--listen", listen], token)
    entries.append({"source_id": "live", "base_url": f"http://{listen}", "region": "local"})
    line.environment["EXPORTER_SOURCES_JSON"] = json.dumps(entries)
    line.environment["INTERNAL_SERVICE_TOKEN"] = token
    for name, value in _DEMO_PRICES.items():
        line.environment.setdefault(name, value)
    line.environment.setdefault("COLLECT_INTERVAL", "5m")
    wait_until_served(ports, _RUN_SECONDS)
    line.say("development exporters are up: " + ", ".join(str(e["source_id"]) for e in entries))


def _start_exporter(line: Line, name: str, command: list[str], token: str) -> None:
    line.stack.enter_context(
        ManagedProcess(
            [sys.executable, *command],
            log=line.data / "exporters" / f"{name}.log",
            environment=dict(os.environ) | {"EXPORTER_TOKEN": token},
        )
    )


def _history_hours(data: Path, now: Hour) -> int:
    """Some whole hours at first; later runs serve on from there, as far as exporters keep."""
    note = data / "exporters" / "first_hour"
    if not note.exists():
        note.write_text(str(now.index - HOURS))
    return min(max(HOURS, now.index - int(note.read_text())) + _DEMO_HOURS, _RETENTION_HOURS)


def local_airflow(line: Line) -> LocalAirflow:
    """Airflow; its metadata is in the embedded server unless a setting names another."""
    given = line.environment.get(METADATA_SETTING)
    if given:
        metadata_url = given.replace("postgresql+psycopg://", "postgresql://").replace(
            "postgresql+psycopg2://", "postgresql://"
        )
    else:
        postgres = line.embedded_postgres()
        postgres.create_database(AIRFLOW_DATABASE)
        metadata_url = postgres.url(AIRFLOW_DATABASE)
    return LocalAirflow(
        home=line.data / "airflow",
        metadata_url=metadata_url,
        port=_kept_port(line.data / "airflow.port"),
        task_environment=line.environment,
    )


def _kept_port(note: Path) -> int:
    """The port of the run before, so that a bookmark stays good; another one when it is taken."""
    if note.exists() and is_free(int(note.read_text())):
        return int(note.read_text())
    (port,) = free_ports(1)
    note.write_text(str(port))
    return port


def run_hours(line: Line, api: AirflowApi, hours: HourRange) -> None:
    """Has the scheduler run the line over the hours, then collect the running hour."""
    for dag_id in _LINE:
        line.say(f"backfill of {dag_id} over {hours}")
        # First the backfill: unpausing alone makes the scheduler run the last hour by itself.
        api.backfill(dag_id, hours)
        api.unpause(dag_id)
        with _console.status(f"{dag_id}: waiting for the scheduler") as status:
            runs = api.wait_hours(
                dag_id,
                hours,
                _RUN_SECONDS,
                lambda runs, s=status, d=dag_id: s.update(_progress(d, runs)),  # type: ignore[misc]
            )
        for run in runs:
            if run.state != "success":
                line.say(f"[red]{dag_id} {run.hour}: {run.state}[/red], see the log in Airflow")
    api.unpause("collect_running_hour")
    line.say("collecting the hour that is running")
    run_id = api.trigger("collect_running_hour")
    with _console.status("collect_running_hour: waiting for the scheduler"):
        api.wait_run("collect_running_hour", run_id, _RUN_SECONDS)


def _progress(dag_id: str, runs: list[DagRun]) -> str:
    states = ", ".join(f"{run.hour} {run.state}" for run in runs)
    return f"{dag_id}: {states or 'waiting for the scheduler'}"


def _show_access(line: Line, airflow: LocalAirflow) -> None:
    _console.print(f"\nAirflow   {airflow.url}  login {USER} / {airflow.password}", markup=False)
    _console.print(f"Billing   {airflow.url}/plugin/billing  in its navigation", markup=False)
    shell = f". {os.path.relpath(line.data / 'env')}"
    _console.print(f"shell     {shell}  then billing-etl, airflow and psql work on this run")
    query = f"-c '{_EXAMPLE_QUERY}'"
    if not line.embedded_database:
        _console.print(f'psql      psql "$DATABASE_URL" {query}', markup=False)
        return
    url = urlsplit(line.environment["DATABASE_URL"])
    password = os.path.relpath(line.data / "postgres" / "password")
    server = f"-h {url.hostname} -p {url.port} -U {url.username} {BILLING_DATABASE}"
    _console.print(f'psql      PGPASSWORD="$(cat {password})" psql {server} {query}', markup=False)


def _stay(line: Line) -> NoReturn:
    """Waits for Ctrl-C; development history grows with the hours, unless one was put away."""
    end = Hour.of(datetime.now(UTC))
    while True:
        time.sleep(5)
        now = Hour.of(datetime.now(UTC))
        if now > end and line.demo_stores and all(store.exists() for store in line.demo_stores):
            write_demo_history(line.data / "exporters", now, _history_hours(line.data, now))
            end = now


if __name__ == "__main__":
    sys.exit(main())
