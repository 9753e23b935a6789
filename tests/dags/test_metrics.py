"""Metrics: every name is documented, and arrives at a real StatsD receiver when it should."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dag_runs import Exporters, Runs
from receivers import StatsdReceiver

ROOT = Path(__file__).resolve().parents[2]
BAD = {"uuid": "nobody", "inbound_tag": "tcp", "uplink_bytes_total": 1, "downlink_bytes_total": 1}


@pytest.fixture
def statsd(airflow: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[StatsdReceiver]:
    """Airflow of this process sends there, with tags as InfluxDB and Telegraf know them."""
    from airflow.sdk._shared.observability.metrics import stats as backend
    from airflow.sdk._shared.observability.metrics.statsd_logger import SafeStatsdLogger
    from airflow.sdk.observability import stats
    from statsd import StatsClient  # type: ignore[import-untyped]

    receiver = StatsdReceiver()
    client = StatsClient("127.0.0.1", receiver.port, "airflow", maxudpsize=8192)
    logger = SafeStatsdLogger(client, influxdb_tags_enabled=True, statsd_influxdb_enabled=True)
    monkeypatch.setattr(backend, "_backend", logger)
    assert stats.gauge is backend.gauge
    yield receiver
    receiver.close()


def documented() -> dict[str, tuple[str, str, str]]:
    """Kind, unit and tag by name."""
    text = (ROOT / "docs/metrics.md").read_text("utf-8")
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `billing."):
            assert len(cells) == 5, line
            assert cells[4], line
            found[cells[0].strip("`")] = (cells[1], cells[2], cells[3].strip("`"))
    return found


def test_the_documented_metrics_are_those_of_the_code(airflow: None) -> None:
    from billing_airflow.metrics import METRICS

    code = {metric.name: (metric.kind, metric.unit, metric.tag) for metric in METRICS}
    assert documented() == code
    assert len(code) == len(METRICS)


def test_no_name_is_sent_but_through_the_table() -> None:
    """A name of its own anywhere else in plugins and DAGs would be on nobody's list."""
    for path in [*(ROOT / "plugins").rglob("*.py"), *(ROOT / "dags").glob("*.py")]:
        text = path.read_text("utf-8")
        if path.name != "metrics.py":
            assert not re.search(r"\bstats\.(gauge|incr|decr|timing|timer)\(", text), path


def test_every_metric_arrives(
    runs: Runs, exporters: Exporters, database_url: str, statsd: StatsdReceiver
) -> None:
    exporters.add("jp-1", [snapshot("12:00:03", BAD), snapshot("12:59:03")])
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update billing_core.delivery_heartbeats set last_success = now()")
        connection.execute(
            "insert into billing_core.findings (kind, subject, message, run_id)"
            " values ('conflicting_samples', 'x', 'x', 0)"
        )
        exporters._patch.setenv("BILLING_S3_ENABLED", "true")
        exporters._patch.setenv("BILLING_S3_BUCKET", "none")
        connection.execute("update billing_core.delivery_heartbeats set is_exported = true")
        run = runs.with_params(
            "collect_and_rate", from_hour="2026-04-08T12", to_hour="2026-04-08T13"
        )
        assert run.state == "success"
        # As if it were of today: shares and coverage are about the last days.
        connection.execute(
            "update billing_core.source_hours"
            " set hour = floor(extract(epoch from now()) / 3600)::int - 1"
        )
    assert runs.with_params("watch").state == "success"
    runs.with_params("watch")  # by now there is an alert to count

    lines = [line.removeprefix("airflow.") for line in statsd.lines()]
    ours = [line for line in lines if line.startswith("billing.")]
    arrived = {re.split(r"[,:]", line)[0] for line in ours}
    assert arrived == set(documented())
    for line in ours:
        name, tag, kind = re.fullmatch(
            r"([\w.]+)(?:,(\w+)=[\w.-]+)?:-?[\d.e+-]+\|(g|c)", line
        ).groups()  # type: ignore[union-attr]
        expected = documented()[name]
        assert (tag or "", kind) == (expected[2], expected[0][0]), line
    counts = dict(line.rsplit(":", 1) for line in ours)
    assert counts["billing.collect.samples,source=jp-1"] == "3|c"
    assert counts["billing.collect.quarantined,source=jp-1"] == "1|c"
    assert counts["billing.quarantine.samples,source=jp-1"] == "1.0|g"
    assert counts["billing.coverage.hours,state=complete"] == "1.0|g"
    assert counts["billing.findings.open,kind=conflicting_samples"] == "1.0|g"


def test_what_is_over_is_told_as_zero(
    runs: Runs, exporters: Exporters, database_url: str, statsd: StatsdReceiver
) -> None:
    exporters.add("jp-1", [])
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "insert into billing_core.findings (kind, subject, message, run_id, closed_at)"
            " values ('conflicting_samples', 'x', 'x', 0, now())"
        )
    runs.with_params("watch")
    assert "airflow.billing.findings.open,kind=conflicting_samples:0.0|g" in statsd.lines()


def snapshot(at: str, *more: dict[str, Any]) -> dict[str, Any]:
    account = "6b1f6f0e-58d4-4a0c-9d9d-2f6f2f1f8a01"
    values = {"uuid": account, "email": "unknown", "inbound_tag": "tcp"}
    totals = {"uplink_bytes_total": 1, "downlink_bytes_total": 1}
    samples = [values | totals, *({"email": "unknown"} | each for each in more)]
    return {
        "collected_at": f"2026-04-08T{at}Z", "node_id": "n", "env": "prod", "samples": samples,
    }  # fmt: skip
