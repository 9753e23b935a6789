"""Metrics, to StatsD or OpenTelemetry as Airflow is configured (docs/metrics.md).

`METRICS` is every name there is. State is sent as gauges by the DAG `watch`; what a task has done,
as counters by the task. Tags are sources, event types, rules, kinds of findings and the like: of
those there are as many as the settings or the code name, never one per account or node. Money is
not among the metrics: they are floating-point numbers (R1), the views are exact.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from airflow.sdk.observability import stats

from billing_etl.errors import BillingError
from billing_etl.pipeline.attention import state_numbers
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.heartbeat import delivery_health


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: how it is sent, what it counts, and the tag that it bears ('': none)."""

    name: str
    kind: Literal["gauge", "counter"]
    unit: str
    tag: str


# Metric and column of billing.delivery_health.
GAUGES: Final = {
    "billing.delivery.offered_events": "offered",
    "billing.delivery.delivered_events": "delivered",
    "billing.delivery.failed_objects": "failed_objects",
    "billing.delivery.backlog_events": "backlog",
    "billing.delivery.pending_objects": "pending_objects",
    "billing.delivery.oldest_age_seconds": "oldest_age_seconds",
}
SINCE_SUCCESS: Final = "billing.delivery.seconds_since_success"
STALLED: Final = "billing.delivery.stalled"

# What `collect` counts, by the name in its result.
_COLLECTED: Final = (
    "snapshots", "samples", "used", "duplicates", "baselines", "quarantined", "facts_written",
    "facts_unchanged",
)  # fmt: skip
_RATED: Final = ("account_hours", "facts_changed", "charges", "adjustments")

METRICS: Final = (
    Metric("billing.source.lag_seconds", "gauge", "seconds", "source"),
    Metric("billing.source.retention_used_ratio", "gauge", "ratio", "source"),
    Metric("billing.source.unattributed_ratio", "gauge", "ratio", "source"),
    Metric("billing.source.open_hours", "gauge", "hours", "source"),
    Metric("billing.coverage.hours", "gauge", "source-hours", "state"),
    Metric("billing.quarantine.samples", "gauge", "samples", "source"),
    Metric("billing.resets.series", "gauge", "series", "class"),
    Metric("billing.rating.waiting_account_hours", "gauge", "account-hours", ""),
    Metric("billing.rating.lag_seconds", "gauge", "seconds", ""),
    Metric("billing.findings.open", "gauge", "findings", "kind"),
    Metric("billing.alerts.open", "gauge", "alerts", "rule"),
    *(Metric(name, "gauge", name.rpartition("_")[2], "event_type") for name in GAUGES),
    Metric(SINCE_SUCCESS, "gauge", "seconds", "event_type"),
    Metric(STALLED, "gauge", "0 or 1", "event_type"),
    Metric("billing.collect.hours", "counter", "source-hours", "source"),
    *(
        Metric(f"billing.collect.{name}", "counter", name.partition("_")[0], "source")
        for name in _COLLECTED
    ),
    *(Metric(f"billing.rate.{name}", "counter", name.replace("_", "-"), "") for name in _RATED),
)
_BY_NAME: Final = {metric.name: metric for metric in METRICS}
# Objectives that are metrics, too; undelivered_age is billing.delivery.oldest_age_seconds.
_MEASURES: Final = {
    "fact_lag": "billing.source.lag_seconds",
    "retention_used": "billing.source.retention_used_ratio",
    "unattributed_share": "billing.source.unattributed_ratio",
    "open_findings": "billing.findings.open",
}

_log = logging.getLogger(__name__)


def send(name: str, value: float, tag: str = "") -> None:
    """Sends one metric of `METRICS`; its tag has this value."""
    metric = _BY_NAME[name]
    tags = {metric.tag: tag} if metric.tag else None
    if metric.kind == "gauge":
        stats.gauge(name, value, tags=tags)
    else:
        stats.incr(name, int(value), tags=tags)


def send_state_metrics(engine: Engine) -> None:
    """Sends every gauge. Who watches does other work: that the database is away is only logged."""
    try:
        numbers = state_numbers(engine)
    except BillingError as error:
        _log.warning("metrics: %s", error)
        return
    for measure in numbers.measures:
        if measure.rule in _MEASURES:
            send(_MEASURES[measure.rule], float(measure.value), measure.subject)
    for name, tag, value in numbers.counts:
        send(f"billing.{name}", value, tag)
    send_delivery_metrics(engine)


def send_delivery_metrics(engine: Engine) -> None:
    """Sends the gauges of every event type that is exported.

    Delivery does not fail for its metrics: that the database is away is only logged.
    """
    now = datetime.now(UTC)
    try:
        health = delivery_health(engine, now=now)
    except BillingError as error:
        _log.warning("metrics of delivery: %s", error)
        return
    for row in health:
        if row["state"] == "off":
            continue
        for name, value in delivery_gauges(row, now).items():
            send(name, value, row["event_type"])


def delivery_gauges(row: Mapping[str, Any], now: datetime) -> dict[str, int]:
    """The gauges of one row of ``billing.delivery_health``; nothing waiting is an age of 0."""
    gauges = {metric: int(row[column] or 0) for metric, column in GAUGES.items()}
    if row["last_success"] is not None:
        gauges[SINCE_SUCCESS] = int((now - row["last_success"]).total_seconds())
    return gauges | {STALLED: int(row["state"] == "stalled")}


def count_collected(result: Mapping[str, Any]) -> None:
    """Counts what a `collect` task did."""
    send("billing.collect.hours", len(result["hours"]), result["source_id"])
    for name in _COLLECTED:
        send(f"billing.collect.{name}", result.get(name, 0), result["source_id"])


def count_rated(result: Mapping[str, Any]) -> None:
    """Counts what a `rate` task did."""
    for name in _RATED:
        send(f"billing.rate.{name}", result[name])
