"""Metrics of delivery, sent by the task that delivers (delivery contract, "Heartbeat").

Gauges with the tag ``event_type``, to StatsD or OpenTelemetry as Airflow is configured.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from airflow.sdk.observability import stats

from billing_etl.errors import BillingError
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.heartbeat import delivery_health

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

_log = logging.getLogger(__name__)


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
        for metric, value in delivery_gauges(row, now).items():
            stats.gauge(metric, value, tags={"event_type": row["event_type"]})


def delivery_gauges(row: Mapping[str, Any], now: datetime) -> dict[str, int]:
    """The gauges of one row of ``billing.delivery_health``; nothing waiting is an age of 0."""
    gauges = {metric: int(row[column] or 0) for metric, column in GAUGES.items()}
    if row["last_success"] is not None:
        gauges[SINCE_SUCCESS] = int((now - row["last_success"]).total_seconds())
    return gauges | {STALLED: int(row["state"] == "stalled")}
