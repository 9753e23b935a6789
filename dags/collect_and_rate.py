"""Collects ended hours from every enabled source and rates them.

**Runs** every hour for the hour that just ended (its data interval). Each source has a task of
its own, which also collects the source's earlier hours that are still open, oldest first. Then
everything collected is rated once. The pool `billing_exporters` bounds how many sources are asked
at the same time.

**Failure.** One failing source blocks no other: the others are collected and rated, the run ends
failed at `report`, and the hours of the failed source stay open (view `billing.source_hours`)
until a later run collects them.

**Params** of a manual run ("Trigger"): `from_hour` and `to_hour`, such as `2026-04-08T12`, UTC,
`to_hour` itself left out; then exactly these hours are collected. Without them: the run's data
interval, else the hour that ended last, and what is open before it. `sources`: ids of the sources
to collect, empty for all. Log and result of `list_sources` and `report` say which hours were done.
`dry_run`: nothing is kept; the log of `report` says what these hours would change in bytes and
money, per hour and account, and which corrections would be delivered.

**Retry and clear** repeat the same hours and change nothing that is already right: an hour's
result depends on the exporter's answer alone, never on earlier runs.

**Backfill** does exactly the hours of its intervals, in any order and beside the hourly runs:

    airflow backfill create --dag-id collect_and_rate \\
        --from-date 2026-04-08T12:00:00Z --to-date 2026-04-08T14:00:00Z

**Catchup** is off because it is not needed: what was missed while Airflow was down is read from
the tables, and the next run takes it up. Switching it on would be safe, only slower.
"""

from airflow.sdk import DAG, Param
from billing_airflow import policy
from billing_airflow.tasks import collect, list_sources, rate, report

with DAG(
    dag_id="collect_and_rate",
    description="Ended hours of every source, collected and rated",
    doc_md=__doc__,
    schedule=policy.hourly(),
    start_date=policy.START_DATE,
    catchup=False,
    max_active_runs=1,
    default_args=policy.DEFAULT_ARGS,
    params=policy.hour_params()
    | policy.source_param()
    | {"dry_run": Param(False, type="boolean", title="Dry run: only say what would change")},
    tags=["billing", "collect", "rate"],
    **policy.told(),
):
    plan = list_sources()
    collected = collect.expand_kwargs(plan)
    rated = rate(plan)
    collected >> rated
    report(collected, rated)
