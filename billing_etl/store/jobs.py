"""Runs of jobs, as their steps recorded them: a job is what one Airflow run or request did."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row

from billing_etl.store.database import Connection, sql


@dataclass(frozen=True, slots=True)
class Step:
    """The latest attempt of one step of a job: one source collected, one rating."""

    command: str
    hours: str | None
    started_at: datetime
    finished_at: datetime | None
    status: str
    error: str | None
    counts: dict[str, Any]


def latest(
    connection: Connection, jobs: Sequence[str], ended_with: Sequence[str] | None = None
) -> tuple[str, str] | None:
    """Job and run of the latest run of some jobs; None when none ever ran.

    Args:
        connection: the connection.
        jobs: names of jobs.
        ended_with: only runs count in which one of these commands has ended.
    """
    row = connection.execute(
        sql("jobs/latest").encode(),
        {"jobs": list(jobs), "commands": None if ended_with is None else list(ended_with)},
    ).fetchone()
    return None if row is None else (str(row[0]), str(row[1]))


def steps(connection: Connection, job: str, job_run: str) -> list[Step]:
    """The steps of one run of a job; none when it left no record."""
    with connection.cursor(row_factory=class_row(Step)) as cursor:
        return cursor.execute(
            sql("jobs/steps").encode(), {"job": job, "job_run": job_run}
        ).fetchall()
