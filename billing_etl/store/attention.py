"""Reads for people, and closing findings."""

from collections.abc import Mapping
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
