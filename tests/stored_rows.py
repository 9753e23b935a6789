"""What the pipeline has stored, down to the transaction that wrote each row."""

from typing import Any

import psycopg

TABLES = ("facts", "closings", "node_instants", "account_hours", "ledger_entries")


def row_versions(database_url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of facts and money with its ``xmin``: equal only when nothing was written."""
    with psycopg.connect(database_url) as connection:
        return {
            table: connection.execute(
                f"select xmin::text, t.* from billing_core.{table} t order by t::text".encode()
            ).fetchall()
            for table in TABLES
        }


def rows(database_url: str, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    with psycopg.connect(database_url) as connection:
        return connection.execute(query.encode()).fetchall()
