"""A real Airflow with six development exporters and a day of history; one exporter has failed.

The day before the last two hours is collected, rated and delivered in this process, as quickly as
it goes; those two hours are collected by Airflow, whose run fails at ``demo-sydney``: its exporter
serves another node than the settings expect. ``Site.repair`` has it serve the right one again.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from billing_etl.hours import Hour, HourRange
from billing_etl.http.local_jobs import run_job
from billing_etl.local.airflow import LocalAirflow
from billing_etl.local.airflow_api import AirflowApi
from billing_etl.local.demo_history import write_demo_history
from billing_etl.local.exporter_server import ExporterServer, Flavour
from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.local.processes import free_ports
from billing_etl.pipeline.deliver import deliver_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.jobs import COLLECT_AND_RATE, RECONCILE, JobRequest
from billing_etl.pipeline.rate import ensure_price
from billing_etl.settings import Settings

TOKEN: Final = "exporter-token"
FAILED: Final = "demo-sydney"
PASSWORDS: Final = {"admin": "pw-admin", "viewer": "pw-viewer"}
DAY_HOURS: Final = 24
AIRFLOW_HOURS: Final = 2
RECONCILED_HOURS: Final = 4
PATIENCE_SECONDS: Final = 600
_NODE: Final = "au-sydney-1"
_WRONG_NODE: Final = "au-perth-1"
# Sources that serve what demo-tokyo and demo-berlin do, under their own names.
_TWINS: Final = {
    "demo-osaka": ("demo-tokyo", "jp", "jp-osaka-1"),
    "demo-hamburg": ("demo-berlin", "de", "de-hamburg-1"),
    "demo-nagoya": ("demo-tokyo", "jp", "jp-nagoya-1"),
    FAILED: ("demo-berlin", "au", _NODE),
}


@dataclass(frozen=True)
class _AirflowWithViewer(LocalAirflow):
    def environment(self) -> dict[str, str]:
        environment = LocalAirflow.environment(self)
        passwords = self.home / "users.json"
        passwords.write_text(json.dumps(PASSWORDS))
        return environment | {
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,viewer:viewer",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        }

    def api(self) -> AirflowApi:
        return AirflowApi(self.url, "admin", PASSWORDS["admin"])


@dataclass
class Site:
    """The running Airflow and its exporters."""

    directory: Path
    now: Hour
    stack: ExitStack
    api: AirflowApi = field(init=False)
    url: str = field(init=False)
    sources: list[dict[str, Any]] = field(default_factory=list)

    @property
    def failed_hours(self) -> HourRange:
        return HourRange(Hour(self.now.index - AIRFLOW_HOURS), self.now)

    def serve(self) -> None:
        written = write_demo_history(self.directory, self.now, DAY_HOURS + 4)
        demo = {exporter.source["source_id"]: exporter for exporter in written}
        for exporter in demo.values():
            self._serve(exporter.source, exporter.store_file, exporter.flavour)
        for name, (twin, region, node) in _TWINS.items():
            original = demo[twin]
            text = original.store_file.read_text("utf-8")
            store = self.directory / f"{name}.json"
            store.write_text(text.replace(original.source["expected_node_id"], node), "utf-8")
            source = original.source | {
                "source_id": name,
                "region": region,
                "expected_node_id": node,
            }
            self._serve(source, store, original.flavour)

    def _serve(self, source: dict[str, Any], store: Path, flavour: Flavour) -> None:
        server = self.stack.enter_context(ExporterServer(store, "127.0.0.1:0", TOKEN, flavour))
        self.sources.append(source | {"base_url": server.base_url})

    def break_exporter(self) -> None:
        self._replace(_NODE, _WRONG_NODE)

    def repair(self) -> None:
        self._replace(_WRONG_NODE, _NODE)

    def _replace(self, node: str, by: str) -> None:
        """The exporter reads its store again when that changes."""
        store = self.directory / f"{FAILED}.json"
        store.write_text(store.read_text("utf-8").replace(f'"{node}"', f'"{by}"'), "utf-8")


@contextmanager
def running(
    directory: Path,
    now: Hour,
    database_url: str,
    metadata_url: str,
    object_store: EmbeddedObjectStore,
    bucket: str,
) -> Iterator[Site]:
    """Brings up the site; takes a minute or two."""
    with ExitStack() as stack:
        site = Site(directory, now, stack)
        site.serve()
        environment = {
            "DATABASE_URL": database_url,
            "EXPORTER_SOURCES_JSON": json.dumps(site.sources),
            "INTERNAL_SERVICE_TOKEN": TOKEN,
            "PRICE_PER_BYTE": "0.00000002",
            "INITIAL_INCLUDED_QUOTA_BYTES": "500000000",
            "BILLING_S3_ENABLED": "true",
            "BILLING_S3_BUCKET": bucket,
            "BILLING_S3_ENDPOINT_URL": object_store.endpoint_url,
            "AWS_ACCESS_KEY_ID": object_store.access_key,
            "AWS_SECRET_ACCESS_KEY": object_store.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            # Else a run of the next hour begins amid the test when a full hour strikes.
            "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "false",
        }
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            patch.setenv(name, environment[name])
        _day_before(Settings.from_environment(environment), site.failed_hours.start)
        site.break_exporter()
        airflow = _AirflowWithViewer(
            home=directory / "airflow",
            metadata_url=metadata_url,
            port=free_ports(1)[0],
            task_environment=environment,
        )
        site.url = airflow.url
        site.api = stack.enter_context(airflow.running(PATIENCE_SECONDS))
        site.api.backfill(COLLECT_AND_RATE, site.failed_hours)
        site.api.unpause(COLLECT_AND_RATE)
        runs = site.api.wait_hours(COLLECT_AND_RATE, site.failed_hours, PATIENCE_SECONDS)
        assert [run.state for run in runs] == ["failed"] * AIRFLOW_HOURS
        yield site


def _day_before(settings: Settings, end: Hour) -> None:
    engine = Engine(settings)
    ensure_price(engine)
    hours = HourRange(Hour(end.index - DAY_HOURS + AIRFLOW_HOURS), end)
    run_job(engine, JobRequest(COLLECT_AND_RATE, hours))
    deliver_hours(engine, HourRange(hours.start, Hour(end.index - 1)))
    checked = HourRange(Hour(end.index - 1 - RECONCILED_HOURS), Hour(end.index - 1))
    run_job(engine, JobRequest(RECONCILE, checked))
