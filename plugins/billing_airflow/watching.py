"""What the DAG `watch` does."""

from typing import Any, Final

from billing_airflow import notices
from billing_airflow.metrics import send_state_metrics
from billing_etl.errors import RetryableError
from billing_etl.pipeline.alerts import end_alerts, watch
from billing_etl.pipeline.engine import Engine

WATCH: Final = "watch"


def look_around(engine: Engine) -> dict[str, Any]:
    """Opens and closes alerts, sends metrics and notices; gives the open alerts by rule.

    Raises:
        RetryableError: a connection did not take its notice; it is sent again.
    """
    connections = notices.existing(engine.settings.alert_connections)
    end_alerts(engine, WATCH, connections)  # it runs: no callback is needed to say so
    alerts = watch(engine, connections)
    send_state_metrics(engine)
    errors = notices.send_pending(engine, connections)
    if errors:
        raise RetryableError("; ".join(errors.values()))
    return {
        "connections": connections,
        "alerts": [f"{alert.rule} {alert.subject}" for alert in alerts],
    }
