"""Reads for people; findings that are of no single hour, and closing any."""

from collections.abc import Iterable, Mapping
from typing import Any

from psycopg.rows import dict_row

from billing_etl.store.database import Connection, sql


def rows(
    connection: Connection, name: str, parameters: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The rows of ``sql/queries/<name>.sql`` by column name."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(sql(name).encode(), parameters).fetchall()


def close_finding(connection: Connection, finding_id: int, reason: str, run_id: int) -> bool:
    """Closes an open finding; False when there is none of that number."""
    closed = connection.execute(
        "update billing_core.findings set closed_at = clock_timestamp(), resolution = %s,"
        " closed_run_id = %s where finding_id = %s and closed_at is null",
        (reason, run_id, finding_id),
    )
    return closed.rowcount > 0


def open_subjects(connection: Connection, kind: str) -> set[str]:
    """What the open findings of a kind are about."""
    found = connection.execute(sql("findings/open_subjects").encode(), {"kind": kind})
    return {str(subject) for (subject,) in found}


def keep_finding(
    connection: Connection,
    kind: str,
    subject: str,
    message: str,
    run_id: int,
    *,
    expected: int | None = None,
    actual: int | None = None,
) -> None:
    """Opens the finding of a kind and subject, or brings it up to date."""
    parameters = {"kind": kind, "subject": subject, "message": message, "run_id": run_id}
    connection.execute(
        sql("findings/keep").encode(), parameters | {"expected": expected, "actual": actual}
    )


def withdraw_findings(connection: Connection, kind: str, still: Iterable[str], run_id: int) -> None:
    """Closes the open findings of a kind whose subjects are none of those that are ``still`` so."""
    connection.execute(
        sql("findings/withdraw").encode(), {"kind": kind, "still": list(still), "run_id": run_id}
    )
