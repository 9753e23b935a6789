"""The tasks that DAGs share: list sources, collect, rate, report.

XCom carries counts and keys only: source ids, hours, and the counts of each step.
"""

import logging
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from airflow.sdk import TriggerRule, get_current_context, task

from billing_airflow.context import hour_ranges, interval_hours, param_hours, task_engine
from billing_airflow.pools import EXPORTER_POOL
from billing_etl.errors import BillingError, RetryableError, TerminalError, UsageError
from billing_etl.hours import Hour, HourRange, parse_hour
from billing_etl.pipeline.collect import collect_hour, open_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.heartbeat import watch_delivery
from billing_etl.pipeline.rate import rate_hours
from billing_etl.settings import Source

# An exporter that could not be reached for so many hours is down: of the hours that are left only
# the newest is tried, so that a dead exporter does not hold its pool slot for all of them.
UNREACHABLE_HOURS: Final = 2

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

    Params name hours and sources. Without Params: the run's own hours (or the running hour), and
    before them every earlier hour of the source that is still open.
    """
    context = get_current_context()
    with task_engine() as engine:
        named = None if running_hour else param_hours(context)
        own = HourRange.single(Hour.of(datetime.now(UTC))) if running_hour else named
        own = own or interval_hours(context)
        plan = []
        for source in _chosen_sources(engine, context["params"].get("sources") or []):
            earlier = [] if named else open_hours(engine, source, before=own.start)
            hours = [str(hour) for hour in [*earlier, *own]]
            plan.append({"source_id": source.source_id, "hours": hours})
    _log.info("own hours %s; plan %s", own, plan)
    return plan


def _chosen_sources(engine: Engine, source_ids: list[str]) -> list[Source]:
    enabled = {source.source_id: source for source in engine.settings.enabled_sources}
    unknown = sorted(set(source_ids) - set(enabled))
    if unknown:
        raise UsageError(f"Param sources: expected some of {sorted(enabled)}, got {unknown}")
    return [enabled[source_id] for source_id in source_ids or enabled]


@task(pool=EXPORTER_POOL, map_index_template=SOURCE_AND_HOURS)
def collect(source_id: str, hours: list[str]) -> dict[str, Any]:
    """Collects the hours of one source, oldest first, each in a transaction of its own.

    An hour that fails does not stop the ones after it; the task fails at the end.
    """
    results: list[dict[str, Any]] = []
    unreachable: list[str] = []
    refused: list[str] = []
    with task_engine() as engine, engine.run("collect", f"{source_id} {_label(hours)}") as run:
        source = engine.settings.source(source_id)
        for hour in hours:
            if len(unreachable) >= UNREACHABLE_HOURS and hour != hours[-1]:
                continue
            try:
                result = collect_hour(engine, source, parse_hour(hour), run.run_id)
            except RetryableError as error:
                unreachable.append(str(error))
            except BillingError as error:
                refused.append(str(error))
            else:
                results.append(result.as_dict())
                _log.info("%s", results[-1])
        run.counts = {"hours": len(results), **_sums(results)}
        if unreachable:
            raise RetryableError("; ".join(unreachable + refused))
        if refused:
            raise TerminalError("; ".join(refused))
    return {"source_id": source_id, "hours": hours, **_sums(results)}


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
        result = rate_hours(engine, HourRange(Hour(0), hours[-1].next)).as_dict()
    ranges = [str(part) for part in hour_ranges(hours)]
    _log.info("hours %s: %s", ranges, result)
    return {"hours": ranges, **result}


@task(trigger_rule=TriggerRule.NONE_FAILED)
def report(collected: Returned, rated: Returned) -> dict[str, Any]:
    """The result of the run. It fails with a failed source, which rating must not hide."""
    summary = {"hours": rated["hours"], "collected": collected[:], "rated": rated}
    _log.info("%s", summary)
    return summary


def _label(hours: list[str]) -> str:
    return " ".join(str(part) for part in hour_ranges(parse_hour(hour) for hour in hours))


def _sums(results: list[dict[str, Any]]) -> dict[str, int]:
    """The whole-number counts of several results, added up."""
    keys = [key for key, value in results[0].items() if type(value) is int] if results else []
    return {key: sum(result[key] for result in results) for key in keys}
