"""Keeps the database small and accounts honest: partitions, archive, retention, arrears sweep.

**Runs** every night. Each step is a task of its own, and one that fails keeps no other from its
work: `partitions` makes those of the days to come (collecting also makes what it needs, so none is
ever missing); `archive` moves facts of old days to S3, once their statement is final, and drops
them here when every object was read back (view `billing.archives`); `retention` drops what is old
and nobody needs any more (`BILLING_RETENTION`, `BILLING_PAYLOAD_RETENTION`); `arrears` suspends
accounts whose arrears last longer than `BILLING_ARREARS_GRACE` (view `billing.suspensions`). What
each step drops and what that costs is in `docs/maintenance.md`.

**Params** of a manual run ("Trigger"): `dry_run`: switched on, each task tells in its log and
result what it would do, and changes nothing.

**Retry and clear** go on where a run ended: everything is done in small transactions, and what is
done is not due any more. A **backfill** makes no sense here: only the present counts.

**Catchup** is off for the same reason.
"""

from typing import Any

from airflow.sdk import DAG, Param, get_current_context, task
from billing_airflow import policy
from billing_airflow.context import task_engine

from billing_etl.pipeline.maintain import STEPS, run_step


def run(name: str) -> dict[str, Any]:
    """Runs a step; its result is what it did, or would do."""
    dry_run = bool(get_current_context()["params"]["dry_run"])
    with task_engine() as engine:
        return {"dry_run": dry_run, **run_step(engine, name, dry_run=dry_run).counts}


with DAG(
    dag_id="maintenance",
    description="Partitions ahead, archive, retention, and the arrears sweep",
    doc_md=__doc__,
    schedule=policy.nightly(),
    start_date=policy.START_DATE,
    catchup=False,
    max_active_runs=1,
    default_args=policy.DEFAULT_ARGS,
    params={"dry_run": Param(False, type="boolean", title="Only tell what would be done")},
    tags=["billing", "maintenance"],
    **policy.told(),
):
    for step in STEPS:
        task(task_id=step)(run)(step)
