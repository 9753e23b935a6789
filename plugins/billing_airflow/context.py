"""What a task gets from its Airflow run: the engine, its hours, and errors that end it rightly."""

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from airflow.sdk import Connection, Context, get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

from billing_etl.errors import BillingError, RetryableError, UsageError
from billing_etl.hours import Hour, HourRange, parse_hour
from billing_etl.pipeline.engine import Engine
from billing_etl.settings import Settings

DATABASE_CONNECTION: Final = "billing_database"
S3_CONNECTION: Final = "billing_s3"
# Under this key the task `report` of a dry run keeps its sums.
DRY_RUN_KEY: Final = "summary"


@contextmanager
def task_engine() -> Iterator[Engine]:
    """The engine of the running task; a terminal error ends the task at once, without a retry.

    Settings come from the environment. Three of them may stand in Airflow connections instead:
    the database in ``billing_database`` (used while ``DATABASE_URL`` is not set), S3 keys in
    ``billing_s3`` (while ``AWS_ACCESS_KEY_ID`` is not set; without both, the standard AWS chain),
    and a source's token in the connection that its ``connection_id`` names.

    Raises:
        AirflowFailException: the work failed and will fail again until a person changes something.
        RetryableError: the task's retries may succeed.
    """
    task_instance = get_current_context()["ti"]
    # A task has a process of its own, full of modules that stay until it ends: the collector need
    # not walk through them again, which takes longer than many an hour.
    gc.freeze()
    step = task_instance.task_id
    if task_instance.map_index is not None and task_instance.map_index >= 0:
        step = f"{step}[{task_instance.map_index}]"
    external_id = f"{task_instance.dag_id} {task_instance.run_id} {step}"
    try:
        yield Engine(read_settings(), external_id=external_id)
    except RetryableError:
        raise
    except BillingError as error:
        raise AirflowFailException(str(error)) from error


def read_settings(*, only: Sequence[str] | None = None) -> Settings:
    """Settings of the environment and of Airflow's connections; see `task_engine`.

    ``only``: names of those that are read, the others being as they are by default; for who asks
    neither an exporter nor S3.
    """
    environment = dict(os.environ)
    if only is not None:
        environment = {name: environment.get(name, "") for name in only}
    if not environment.get("DATABASE_URL"):
        database = _connection(DATABASE_CONNECTION)
        if database is not None:
            environment["DATABASE_URL"] = database.get_uri()
    if only is None and not environment.get("AWS_ACCESS_KEY_ID"):
        keys = _connection(S3_CONNECTION)
        if keys is not None:
            # Where the standard AWS chain looks first; a task has a process of its own.
            os.environ["AWS_ACCESS_KEY_ID"] = keys.login or ""
            os.environ["AWS_SECRET_ACCESS_KEY"] = keys.password or ""
    return Settings.from_environment(environment, connection_token=_connection_token)


def _connection(connection_id: str) -> Connection | None:
    try:
        connection: Connection = Connection.get(connection_id)
        return connection
    except AirflowNotFoundException:
        return None


def _connection_token(connection_id: str) -> str | None:
    connection = _connection(connection_id)
    return None if connection is None else connection.password


def asked_hours(context: Context) -> HourRange | None:
    """The hours that someone asked for, and no others; None: the run does what is due.

    They are named by the Params ``from_hour`` and ``to_hour``, half-open, else by a backfill. What
    is open or pending before them is not theirs: newest first, the first run would do it all.

    Raises:
        UsageError: only one is given, one is not a whole UTC hour, or an hour lies ahead.
    """
    start, end = context["params"].get("from_hour"), context["params"].get("to_hour")
    if not start and not end:
        return interval_hours(context) if context["dag_run"].run_type == "backfill" else None
    if not start or not end:
        raise UsageError(
            f"Params: expected from_hour and to_hour together, got {start!r} and {end!r}; "
            "one hour is from_hour 2026-04-08T12 and to_hour 2026-04-08T13"
        )
    return HourRange(parse_hour(start), parse_hour(end)).begun(datetime.now(UTC))


def interval_hours(context: Context) -> HourRange:
    """The hours of the run's data interval, else (a manual run has none) the last ended hour.

    Raises:
        UsageError: the run was made for hours that lie ahead.
    """
    run, now = context["dag_run"], datetime.now(UTC)
    start, end = run.data_interval_start, run.data_interval_end
    if start is None or end is None or end <= start:
        return HourRange.single(Hour.of(now).previous)
    return HourRange(_hour(start), _hour(end)).begun(now)


def _hour(instant: datetime) -> Hour:
    # Airflow gives a subclass with an arithmetic of its own; Hour wants a plain datetime.
    return Hour.of(datetime.fromtimestamp(instant.timestamp(), UTC))
