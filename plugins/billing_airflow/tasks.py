"""The tasks that DAGs share: list sources, collect, rate, report.

XCom carries counts and keys only: source ids, hours, and the counts of each step.
"""

import logging
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from airflow.sdk import TriggerRule, get_current_context, task

from billing_airflow.context import DRY_RUN_KEY, asked_hours, interval_hours, task_engine
from billing_airflow.metrics import count_collected, count_rated
from billing_airflow.pools import EXPORTER_POOL
from billing_etl.errors import TerminalError
from billing_etl.hours import Hour, HourRange, hour_ranges, parse_hour
from billing_etl.pipeline.heartbeat import watch_delivery
from billing_etl.pipeline.jobs import chosen_sources, collect_source, plan_collection
from billing_etl.pipeline.rate import rate_until
from billing_etl.pipeline.rehearsal import rehearse

# The name of a mapped task, such as "jp-1: 3 hours, 2026-04-08T10 to 2026-04-08T12".
SOURCE_AND_HOURS: Final = (
    "{{ task.op_kwargs.source_id }}: {{ task.op_kwargs.hours | length }} hours, "
    "{{ task.op_kwargs.hours | first }} to {{ task.op_kwargs.hours | last }}"
)

# What another task returned; while the DAG file is read it is a reference to that.
Returned: TypeAlias = Any

_log = logging.getLogger(__name__)


@task
def list_sources(running_hour: bool = False) -> list[dict[str, Any]]:
    """Which source collects which hours in this run; one entry per source, oldest hour first.

    Params name hours and sources, a backfill its hours. Without either: the run's own hours (or the
    running hour), and before them every earlier hour of the source that is still open. A dry run
    collects nothing here: `report` does.
    """
    context = get_current_context()
    if context["params"].get("dry_run"):
        return []
    with task_engine() as engine:
        named = None if running_hour else asked_hours(context)
        own = HourRange.single(Hour.of(datetime.now(UTC))) if running_hour else named
        own = own or interval_hours(context)
        plan = [
            {"source_id": source.source_id, "hours": [str(hour) for hour in hours]}
            for source, hours in plan_collection(
                engine, own, context["params"].get("sources") or [], with_open=named is None
            )
        ]
    _log.info("own hours %s; plan %s", own, plan)
    return plan


@task(pool=EXPORTER_POOL, map_index_template=SOURCE_AND_HOURS)
def collect(source_id: str, hours: list[str]) -> dict[str, Any]:
    """Collects the hours of one source, oldest first, each in a transaction of its own.

    An hour that fails does not stop the ones after it; the task fails at the end.
    """
    with task_engine() as engine:
        source = engine.settings.source(source_id)
        result = collect_source(engine, source, [parse_hour(hour) for hour in hours])
    count_collected(result)
    return result


@task(trigger_rule=TriggerRule.ALL_DONE)
def rate(plan: Returned) -> dict[str, Any]:
    """Rates what the run's sources collected, also when one of them failed.

    Hours that an earlier run collected but could not rate, for want of a price, are rated as well.
    """
    hours = sorted({parse_hour(hour) for entry in plan or [] for hour in entry["hours"]})
    if not hours:
        return {"hours": []}
    with task_engine() as engine:
        # What was collected must go out, also when no export runs; a backfill does not look.
        if get_current_context()["dag_run"].run_type == "scheduled":
            watch_delivery(engine)
        result = rate_until(engine, hours[-1].next).as_dict()
    count_rated(result)
    ranges = [str(part) for part in hour_ranges(hours)]
    _log.info("hours %s: %s", ranges, result)
    return {"hours": ranges, **result}


@task(trigger_rule=TriggerRule.NONE_FAILED)
def report(collected: Returned, rated: Returned) -> dict[str, Any]:
    """The result of the run. It fails with a failed source, which rating must not hide.

    Of a dry run: a table of what would change in the log, and its sums.
    """
    if get_current_context()["params"].get("dry_run"):
        return _dry_run()
    summary = {"hours": rated["hours"], "collected": collected[:], "rated": rated}
    _log.info("%s", summary)
    return summary


def _dry_run() -> dict[str, Any]:
    context = get_current_context()
    with task_engine() as engine:
        hours = asked_hours(context) or interval_hours(context)
        sources = chosen_sources(engine.settings, context["params"]["sources"])
        result = rehearse(engine, sources, hours)
        for line in result.lines():
            _log.info("%s", line)
        summary = result.summary()
        # A failed task returns nothing; and whoever asked by HTTP is answered from here.
        context["ti"].xcom_push(key=DRY_RUN_KEY, value=summary)
        if incomplete := result.incomplete():
            raise TerminalError(incomplete)
    return summary
