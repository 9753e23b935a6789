"""The task by which a DAG waits for the step before.

It has a module of its own: asking what waits needs the S3 client, whose import costs a fifth of a
second, and tasks that collect and rate do without.
"""

import logging

from airflow.sdk import get_current_context, task

from billing_airflow.context import interval_hours, task_engine
from billing_etl.pipeline.deliver import waits_for

_log = logging.getLogger(__name__)


@task.sensor(poke_interval=30, timeout=20 * 60, mode="reschedule", soft_fail=True)
def wait_until_ready(delivery: bool) -> bool:
    """Waits, without holding a slot, until the run's own hours are collected (and delivered).

    The runs of all DAGs begin at the full hour; what comes later in the line waits here for what
    comes before. It ends skipped after twenty minutes: what is there is then done all the same,
    and the next run takes up the rest. Backfills and triggered runs do not wait: someone asked for
    their hours as they are.
    """
    context = get_current_context()
    if context["dag_run"].run_type != "scheduled":
        return True
    with task_engine() as engine:
        reason = waits_for(engine, interval_hours(context), delivery=delivery)
    _log.info("%s", reason or "ready")
    return not reason
