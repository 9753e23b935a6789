"""Seals ended hours and delivers their events to S3.

**Runs** every hour for the hour that just ended, as soon as that is collected (`wait_until_ready`,
for twenty minutes at most), and for every earlier hour with something to seal or to send. An hour
is sealed when all its sources are complete or lost, or when the grace (`BILLING_SEAL_GRACE`) is
over; until then it is reported as `open` and a later run takes it up. With `BILLING_S3_ENABLED`
off nothing is sealed and S3 is not asked; switched on later, everything since then is delivered.

**Params** of a manual run ("Trigger"): `from_hour` and `to_hour`, such as `2026-04-08T12`, UTC,
`to_hour` itself left out; then exactly these hours are delivered. Without them: the run's data
interval, else the hour that ended last, and what is pending before it.

**Retry and clear** send the sealed bytes to their sealed keys: no second object, no second event.
What is delivered already is not sent again. An S3 outage loses nothing; the next run drains it.

**Alert.** Whether delivery keeps up is in the view `billing.delivery_health`, and in the gauges
`billing.delivery.*`. Waiting for `BILLING_DELIVERY_ALERT` is the finding `delivery_stalled`.

**Backfill** delivers exactly the hours of its intervals, in any order:

    airflow backfill create --dag-id export_hourly \\
        --from-date 2026-04-08T12:00:00Z --to-date 2026-04-08T14:00:00Z

**Catchup** is off because it is not needed: what is pending is read from the tables. Switching it
on would be safe.
"""

import logging
from typing import Any

from airflow.sdk import DAG, TriggerRule, get_current_context, task
from billing_airflow import policy
from billing_airflow.context import asked_hours, interval_hours, task_engine
from billing_airflow.metrics import send_delivery_metrics
from billing_airflow.waiting import wait_until_ready

from billing_etl.errors import MismatchError
from billing_etl.hours import hour_ranges
from billing_etl.pipeline.deliver import deliver_hours, pending_hours

_log = logging.getLogger(__name__)

with DAG(
    dag_id="export_hourly",
    description="Ended hours, sealed and delivered to S3",
    doc_md=__doc__,
    schedule=policy.hourly(),
    start_date=policy.START_DATE,
    catchup=False,
    max_active_runs=policy.RUNS_BESIDE_A_WAITING_ONE,
    default_args=policy.DEFAULT_ARGS,
    params=policy.hour_params(),
    tags=["billing", "delivery"],
    **policy.told(),
):

    @task(trigger_rule=TriggerRule.NONE_FAILED)
    def deliver() -> dict[str, Any]:
        """Seals and sends the run's hours; unless these are asked for, also what is pending."""
        context = get_current_context()
        with task_engine() as engine:
            named = asked_hours(context)
            own = named or interval_hours(context)
            earlier = [] if named else pending_hours(engine, before=own.start)
            ranges = hour_ranges([*earlier, *own])
            results, mismatches = [], []
            try:
                for part in ranges:
                    try:
                        results += [result.as_dict() for result in deliver_hours(engine, part)]
                    except MismatchError as error:  # one damaged hour holds no other back
                        mismatches.append(str(error))
            finally:
                send_delivery_metrics(engine)
            _log.info("hours %s: %s", [str(part) for part in ranges], results)
            if mismatches:
                raise MismatchError("; ".join(mismatches))
        return {"hours": [str(part) for part in ranges], "delivered": results}

    wait_until_ready(delivery=False) >> deliver()
