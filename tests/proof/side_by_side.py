"""Runs work side by side so that all of it stands at a lock before any of it may go on."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg
from pipeline.harness import Line
from pipeline.test_crash import until

Work: TypeAlias = Callable[[], Any]
Holder: TypeAlias = "psycopg.Connection[Any]"


@contextmanager
def locked(line: Line, statement: str) -> Iterator[Holder]:
    """Holds the locks that a statement takes."""
    with psycopg.connect(line.database_url) as holder:
        holder.execute(statement.encode())
        yield holder
        holder.rollback()


@contextmanager
def held(line: Line, table: str) -> Iterator[Holder]:
    """Keeps every other connection from writing to a table."""
    with locked(line, f"lock table billing_core.{table} in share mode") as holder:
        yield holder


def wait_until_waiting(holder: Holder, count: int) -> None:
    """Until so many connections wait for a lock of this database at the same moment."""

    def waiting() -> int:
        row = holder.execute(
            "select count(distinct l.pid) from pg_locks l join pg_stat_activity a using (pid)"
            " where not l.granted and a.datname = current_database()"
        ).fetchone()
        # Activity is read once per transaction otherwise.
        holder.execute("select pg_stat_clear_snapshot()")
        return int(row[0]) if row else 0

    until(lambda: waiting() == count)


def at_once(line: Line, table: str, *works: Work) -> list[Any]:
    """Results of works of which each stood waiting when the next one began.

    The first one stands at its first write to the table; nothing goes on before all of them wait.
    """
    with ThreadPoolExecutor(len(works)) as pool:
        with held(line, table) as holder:
            running = []
            for work in works:
                running.append(pool.submit(work))
                wait_until_waiting(holder, len(running))
        return [each.result() for each in running]
