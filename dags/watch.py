"""Looks whether what is promised holds, tells whoever is to know, and sends the metrics.

**Runs** every five minutes. The objectives (view `billing.objectives`) are compared with the
settings `BILLING_ALERT_*`; one that is broken is an alert (view `billing.alerts`), with what is
wrong, since when, and what to do. Each Airflow connection that `BILLING_ALERT_CONNECTIONS` names is
told once when an alert opens, again every `BILLING_ALERT_REMINDER`, and once when it is over.

**Failure.** The run fails when a connection cannot be read, or did not take a notice; the notice
stays and is sent by a later run, under the same id. The other connections are told of that failure.
A broken objective fails no run: that is what it is for.

**Params**: none.

**Retry, clear and backfill** look at the present; nothing is told twice. **Catchup** is off for the
same reason.
"""

import logging
from typing import Any

from airflow.sdk import DAG, DeltaTriggerTimetable, task
from billing_airflow import policy
from billing_airflow.context import task_engine

_log = logging.getLogger(__name__)

with DAG(
    dag_id="watch",
    description="Objectives, alerts and metrics",
    doc_md=__doc__,
    schedule=DeltaTriggerTimetable(policy.WATCH_EVERY),
    start_date=policy.START_DATE,
    catchup=False,
    max_active_runs=1,
    default_args=policy.DEFAULT_ARGS,
    tags=["billing", "alerts"],
    on_failure_callback=policy.tell_failure,
):
    # While a receiver holds it up, nobody is told anything.
    @task(execution_timeout=2 * policy.WATCH_EVERY)
    def look() -> dict[str, Any]:
        """Opens and closes alerts, sends notices and metrics."""
        from billing_airflow.watching import look_around

        with task_engine() as engine:
            summary = look_around(engine)
        _log.info("%s", summary)
        return summary

    look()
