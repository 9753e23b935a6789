"""Alerts about runs of DAGs: callbacks that Airflow calls when one fails, is late, or succeeds.

Airflow calls the first two in the dag-processor and on the executor. An alert of a DAG is over when
a run of it succeeds. While the database is away, its notice is sent all the same, without record.
"""

import logging
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from airflow.configuration import conf

from billing_airflow import notices, policy
from billing_airflow.context import read_settings
from billing_etl.errors import BillingError, UsageError
from billing_etl.pipeline.alerts import (
    DAG_FAILED,
    DEADLINE_MISSED,
    Alert,
    Notice,
    end_alerts,
    message,
    raise_alert,
)
from billing_etl.pipeline.engine import Engine
from billing_etl.settings import Settings

_SCHEDULED: Final = "scheduled"
_NEEDED: Final = ("DATABASE_URL", "BILLING_ALERT_CONNECTIONS", "BILLING_ALERT_REMINDER")

_log = logging.getLogger(__name__)


def dag_failed(context: Mapping[str, Any]) -> None:
    """Opens an alert: a run failed, whoever started it."""
    dag_id, run_id = context["dag"].dag_id, context["run_id"]
    what = f"DAG {dag_id}: run {run_id} failed"
    _tell(Alert(DAG_FAILED, dag_id, what, _remedy(dag_id, run_id), datetime.now(UTC)))


def dag_succeeded(context: Mapping[str, Any]) -> None:
    """Ends the alerts of the DAG."""
    try:
        engine = Engine(_settings())
        connections, _ = notices.usable(engine.settings.alert_connections)
        end_alerts(engine, context["dag"].dag_id, connections)
        notices.send_pending(engine, connections)
    except BillingError as error:  # the next success ends them
        _log.warning("alerts of DAG %s: %s", context["dag"].dag_id, error)


def deadline_missed(context: Mapping[str, Any]) -> None:
    """Opens an alert: a scheduled run is late. Runs that someone asked for may take their time."""
    run = context["dag_run"]
    if run["run_type"] != _SCHEDULED:
        return
    dag_id, run_id = run["dag_id"], run["dag_run_id"]
    since = datetime.fromisoformat(str(context["deadline"]["deadline_time"]))
    what = f"DAG {dag_id}: run {run_id} is not done in time"
    _tell(Alert(DEADLINE_MISSED, dag_id, what, _remedy(dag_id, run_id), since))


def _remedy(dag_id: str, run_id: str) -> str:
    address = f"{conf.get('api', 'base_url', fallback='').rstrip('/')}/dags/{dag_id}/runs/{run_id}"
    return f"the logs of its tasks say why: {address}; clear the task when the cause is gone"


def _settings() -> Settings:
    """Those that telling needs and no others: a malformed one may be why the run failed."""
    try:
        return read_settings(only=_NEEDED)
    except UsageError as error:
        _log.error("%s", error)
        return policy.setting("BILLING_ALERT_CONNECTIONS")


def _tell(alert: Alert) -> None:
    settings = _settings()
    connections, _ = notices.usable(settings.alert_connections)
    _log.error("%s; %s", alert.what, alert.remedy)
    engine = Engine(settings)
    try:
        raise_alert(engine, alert, connections)
        notices.send_pending(engine, connections)
    except BillingError as error:
        _log.error("alert not recorded: %s", error)
        notice = Notice(
            # The same run gives the same id, also when Airflow calls twice.
            notice_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{alert.rule} {alert.what}")),
            kind="opened",
            rule=alert.rule,
            subject=alert.subject,
            what=alert.what,
            remedy=alert.remedy,
            value=None,
            threshold=None,
            since=alert.since,
            opened_at=alert.since,
            closed_at=None,
        )
        for name in connections:
            try:
                notices.send(name, message(notice))
            except BillingError as unsent:
                _log.error("%s", unsent)
