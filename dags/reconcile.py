"""Compares exporters, facts, ratings, ledger, sealed events and stored objects, hour by hour.

**Runs** every hour over the last ended hours, 72 of them unless told otherwise: as far back as
exporters remember. It waits until the newest is delivered (`wait_until_ready`, for twenty minutes
at most). Each hour gets six checks with expected, actual and difference (view
`billing.reconciliations`), and each difference is a finding (`billing.findings`). What can be
repaired safely is repaired and recorded (`billing.repairs`).

**Failure.** The run fails when a difference is left, after all checks are stored. It does not try
again by itself: the same difference would be found. It stays open until it is resolved.

**Params** of a manual run ("Trigger"): `from_hour` and `to_hour`, such as `2026-04-08T12`, UTC,
`to_hour` itself left out, for any range; else `lookback_hours`, how far to look back. `repair`:
switched off, differences are only reported, with what would be repaired. `deep`: the bodies of all
objects are read, too.

**Retry and clear** check again and store a newer result; what is right stays untouched.
**Backfill** checks exactly the hours of its intervals, in any order.
**Catchup** is off: each run covers its whole range again, so missed runs leave nothing unchecked.
"""

import logging
from typing import Any

from airflow.sdk import DAG, Param, TriggerRule, get_current_context, task
from billing_airflow import policy
from billing_airflow.context import asked_hours, interval_hours, task_engine
from billing_airflow.waiting import wait_until_ready

from billing_etl.errors import MismatchError
from billing_etl.hours import Hour, HourRange
from billing_etl.pipeline.reconcile import reconcile_hours

_log = logging.getLogger(__name__)

with DAG(
    dag_id="reconcile",
    description="Six checks per hour, from the exporter to the stored object",
    doc_md=__doc__,
    schedule=policy.hourly(),
    start_date=policy.START_DATE,
    catchup=False,
    max_active_runs=policy.RUNS_BESIDE_A_WAITING_ONE,
    default_args=policy.DEFAULT_ARGS,
    params=policy.hour_params()
    | {
        "lookback_hours": Param(
            72, type="integer", minimum=1, maximum=8784, title="Hours to look back"
        ),
        "repair": Param(True, type="boolean", title="Repair what can be repaired safely"),
        "deep": Param(False, type="boolean", title="Read the bodies of all objects, too"),
    },
    tags=["billing", "reconciliation"],
    **policy.told(),
):

    @task(trigger_rule=TriggerRule.NONE_FAILED)
    def check() -> dict[str, Any]:
        """Runs and stores the six checks of every hour; fails at the end if one is not clean."""
        context = get_current_context()
        params = context["params"]
        with task_engine() as engine:
            end = interval_hours(context).end
            sliding = HourRange(Hour(end.index - params["lookback_hours"]), end)
            hours = asked_hours(context) or sliding
            result = reconcile_hours(engine, hours, repair=params["repair"], deep=params["deep"])
            different = sum(check.status == "different" for check in result.checks)
            summary = {"hours": str(hours), "checks": len(result.checks), "different": different}
            # A failed task returns nothing: its result is stored before it fails.
            context["ti"].xcom_push(key="summary", value=summary)
            _log.info("%s", summary)
            if not result.clean:
                raise MismatchError(
                    f"reconcile {hours}: expected no difference, got {different}; "
                    "see billing.findings"
                )
        return summary

    wait_until_ready(delivery=True) >> check()
