"""Collects the hour that is still running, so that usage shows before the hour ends.

**Runs** every `COLLECT_INTERVAL` when that is shorter than an hour (`15m`), else only by hand. The
tasks are those of `collect_and_rate`, also for open earlier hours. The running hour stays
`partial`: `collect_and_rate` completes it after its end, and nothing is delivered before.

**Params** of a manual run ("Trigger"): `sources`, ids of the sources to collect, empty for all.

**Retry and clear** collect the same hour again, with what the exporter has by then. A
**backfill** makes no sense here: past hours belong to `collect_and_rate`.

**Catchup** is off: only the present counts.
"""

from airflow.sdk import DAG, DeltaTriggerTimetable
from billing_airflow import policy
from billing_airflow.tasks import collect, list_sources, rate, report

interval = policy.running_hour_interval()

with DAG(
    dag_id="collect_running_hour",
    description="The hour that is still running, collected and rated as far as it is",
    doc_md=__doc__,
    schedule=None if interval is None else DeltaTriggerTimetable(interval),
    start_date=policy.START_DATE,
    catchup=False,
    max_active_runs=1,
    default_args=policy.DEFAULT_ARGS,
    params=policy.source_param(),
    tags=["billing", "collect", "rate"],
    **policy.told(),
):
    plan = list_sources(running_hour=True)
    collected = collect.expand_kwargs(plan)
    rated = rate(plan)
    collected >> rated
    report(collected, rated)
