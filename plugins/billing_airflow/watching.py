"""What the DAG `watch` does."""

from typing import Any, Final

from billing_airflow import notices
from billing_airflow.metrics import send_state_metrics
from billing_etl.errors import RetryableError
from billing_etl.pipeline.alerts import end_alerts, watch
from billing_etl.pipeline.engine import Engine

WATCH: Final = "watch"


def look_around(engine: Engine) -> dict[str, Any]:
    """Opens and closes alerts, sends notices and metrics; gives the open alerts by rule.

    Raises:
        RetryableError: a connection cannot be read, or did not take its notice; it is sent again.
    """
    connections, errors = notices.usable(engine.settings.alert_connections)
    alerts = watch(engine, connections)
    errors |= notices.send_pending(engine, connections)
    send_state_metrics(engine)
    if not errors:
        # This run succeeds: no callback is needed to say so. Ended any earlier, the alert about
        # `watch` itself would be told anew by each run that fails on the same connection.
        end_alerts(engine, WATCH, connections)
        errors = notices.send_pending(engine, connections)
    if errors:
        raise RetryableError("; ".join(errors.values()))
    return {
        "connections": connections,
        "alerts": [f"{alert.rule} {alert.subject}" for alert in alerts],
    }
