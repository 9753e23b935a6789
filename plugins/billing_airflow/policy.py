"""What the project's DAGs have in common: owner, retries, time table, Params for hours."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow.sdk import CronDataIntervalTimetable, Param
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert

from billing_airflow.deadlines import RunCreated
from billing_etl.errors import UsageError
from billing_etl.settings import Settings

# Before any data: a run whose logical date lies before it would "succeed" without a task.
START_DATE: Final = datetime(2020, 1, 1, tzinfo=UTC)

DEFAULT_ARGS: Final[dict[str, Any]] = {
    "owner": "billing",
    "retries": 2,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=10),
    # A hung task would hold the only run of its DAG for ever.
    "execution_timeout": timedelta(hours=2),
}

# Alerts are this late at most, and metrics this old.
WATCH_EVERY: Final = timedelta(minutes=5)

# Of a DAG whose hourly runs wait for the step before: a run that someone asks for goes on beside
# the one that waits. Two at work on the same hours wait for each other hour by hour.
RUNS_BESIDE_A_WAITING_ONE: Final = 2


def tell_failure(context: Any) -> None:
    """An alert about the run that failed (docs/alerts.md)."""
    from billing_airflow.run_alerts import dag_failed  # not needed to read a DAG file

    dag_failed(context)


def tell_success(context: Any) -> None:
    """The end of the alerts about runs of this DAG."""
    from billing_airflow.run_alerts import dag_succeeded

    dag_succeeded(context)


def tell_late(context: Any) -> None:
    """An alert about a scheduled run that is not done in time; Airflow calls it by its name."""
    from billing_airflow.run_alerts import deadline_missed

    deadline_missed(context)


def told() -> dict[str, Any]:
    """What makes the runs of a DAG known: an alert when one fails or is late, its end after one.

    The deadline counts from when a run was made: a run by hand has no logical date.
    """
    callbacks = {"on_failure_callback": tell_failure, "on_success_callback": tell_success}
    deadline = setting("BILLING_ALERT_DEADLINE").alert_deadline
    if deadline is None:
        return callbacks
    alert = DeadlineAlert(RunCreated(), deadline, SyncCallback(tell_late), name="in time")
    return callbacks | {"deadline": alert}


def hourly() -> CronDataIntervalTimetable:
    """One run an hour with the hour before it as its data interval, in UTC.

    A plain cron string would give empty intervals.
    """
    return CronDataIntervalTimetable("0 * * * *", timezone="UTC")


def nightly() -> CronDataIntervalTimetable:
    """One run a day, when hourly runs and people have the least to do; in UTC."""
    return CronDataIntervalTimetable("40 2 * * *", timezone="UTC")


def hour_params() -> dict[str, Param]:
    """The Params of a manual run that names its hours."""
    return {
        "from_hour": Param(
            None,
            type=["null", "string"],
            title="From hour",
            description="first hour in UTC, such as 2026-04-08T12",
        ),
        "to_hour": Param(
            None,
            type=["null", "string"],
            title="To hour",
            description="end of the hours in UTC, itself left out",
        ),
    }


def source_param() -> dict[str, Param]:
    """The Param of a manual run that names its sources."""
    sources = Param(
        [],
        type="array",
        items={"type": "string"},
        title="Sources",
        description="source ids, one per line; empty for all enabled sources",
    )
    return {"sources": sources}


def running_hour_interval() -> timedelta | None:
    """``COLLECT_INTERVAL`` when it is shorter than an hour, else None."""
    interval = setting("COLLECT_INTERVAL").collect_interval
    return interval if interval < timedelta(hours=1) else None


def setting(name: str) -> Settings:
    """One setting, the others as they are by default.

    A malformed value gives the default too: a DAG file must load, and every task names the bad
    value.
    """
    try:
        return Settings.from_environment({name: os.environ.get(name, "")})
    except UsageError:
        return Settings()
