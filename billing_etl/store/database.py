"""Connections, locks and SQL files."""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from billing_etl.errors import BillingError, RetryableError, TerminalError, UsageError

Connection: TypeAlias = psycopg.Connection[TupleRow]

SQL_DIRECTORY: Final = Path(__file__).resolve().parents[2] / "sql"
LOCK_WAIT_SECONDS: Final = 120
# Tables are partitioned by day: what is looked for in this many hours first touches few of them.
RECENT_HOURS: Final = 24

_log = logging.getLogger(__name__)


@cache
def sql(name: str) -> str:
    """The text of ``sql/queries/<name>.sql``: one statement with psycopg named parameters."""
    return (SQL_DIRECTORY / "queries" / f"{name}.sql").read_text(encoding="utf-8")


def array_literal(values: Iterable[object]) -> str:
    """Names without special characters, such as uuids, as a PostgreSQL array; see ``Numbers``."""
    return "{" + ",".join(map(str, values)) + "}"


class Connections:
    """Connections that the steps of a run use one after the other.

    A new connection costs more than most of a small step: a process of the server that knows no
    table yet.
    """

    def __init__(self) -> None:
        self._idle: list[Connection] = []
        self._runs = 0
        self._lock = threading.Lock()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keeps connections open between steps until the end of the outermost block."""
        with self._lock:
            self._runs += 1
        try:
            yield
        finally:
            with self._lock:
                self._runs -= 1
                left = [] if self._runs else self._idle[:]
                if left:
                    self._idle.clear()
            for connection in left:
                connection.close()

    @contextmanager
    def connect(
        self, database_url: str, application_name: str = "billing_etl"
    ) -> Iterator[Connection]:
        """A connection in UTC with bounded lock waits; commits on success, else rolls back.

        Locks of the session end with the block.

        Raises:
            UsageError: the address cannot be read.
            RetryableError: the server cannot be reached, or the connection was lost meanwhile.
            TerminalError: the server refuses: wrong login, full disk, a constraint that held bad
                data.
        """
        _check_address(database_url)
        try:
            connection = self._take() or psycopg.connect(
                database_url,
                application_name=application_name,
                connect_timeout=10,
                options=f"-c timezone=UTC -c lock_timeout={LOCK_WAIT_SECONDS}s",
            )
            try:
                yield connection
                connection.commit()
            except BaseException:
                connection.close()
                raise
            self._give_back(connection)
        except psycopg.Error as error:
            raise database_error(error) from error

    def _take(self) -> Connection | None:
        """An idle connection that still works."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            try:
                _at_once(connection, b"select")
                return connection
            except psycopg.Error:
                connection.close()

    def _give_back(self, connection: Connection) -> None:
        """Keeps a connection for the next step, else closes it; what was committed stays."""
        try:
            if self._runs:
                _at_once(connection, b"select pg_advisory_unlock_all()")
        except psycopg.Error as error:
            _log.info("database: connection lost after the work was done (%s)", error)
            connection.close()
            return
        with self._lock:
            if self._runs:
                self._idle.append(connection)
                return
        connection.close()


def _at_once(connection: Connection, statement: bytes) -> None:
    """One round trip instead of three: without a transaction around it, which was committed."""
    connection.autocommit = True
    connection.execute(statement)
    connection.autocommit = False


def connect(
    database_url: str, application_name: str = "billing_etl"
) -> AbstractContextManager[Connection]:
    """A connection of its own; see ``Connections.connect``."""
    return Connections().connect(database_url, application_name)


def _check_address(database_url: str) -> None:
    """Refuses an address that cannot be read; what libpq says of it would show the password."""
    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(database_url).items()}
    except psycopg.ProgrammingError:
        parts = {"port": "unreadable"}
    ports = parts.get("port", "").split(",")
    # An unescaped @ or / moves a part of the password into the host or the database name.
    names = parts.get("host", "") + parts.get("dbname", "")
    if "@" in names or any(port and not port.isdigit() for port in ports):
        raise UsageError(
            "DATABASE_URL: expected an address such as postgresql://user@host:5432/billing, got "
            "one that cannot be read; check its port, its parameters and escaped characters"
        )


def database_error(error: psycopg.Error) -> BillingError:
    """Says in one line what the database refused and whether trying again can help."""
    text = (error.diag.message_primary or str(error)).strip().splitlines()
    line = text[0] if text else type(error).__name__
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return RetryableError(
            f"database: waited {LOCK_WAIT_SECONDS} s for another run to finish ({line}); "
            "try again when it has ended"
        )
    if isinstance(error, psycopg.errors.DiskFull):
        return TerminalError(
            f"database: no space left on the server ({line}); nothing was written, "
            "free space and run again"
        )
    if isinstance(error, psycopg.errors.SerializationFailure | psycopg.errors.DeadlockDetected):
        return RetryableError(
            f"database: another run got in the way ({line}); nothing was written, run again"
        )
    if isinstance(error, psycopg.errors.QueryCanceled):
        return RetryableError(
            f"database: gave up ({line}); nothing was written, run again when less else is done"
        )
    retryable = (psycopg.OperationalError, psycopg.InterfaceError)
    if isinstance(error, retryable) and error.sqlstate not in {"28P01", "28000", "3D000"}:
        # Not "nothing was written": the answer to a COMMIT may be what was lost.
        return RetryableError(
            f"database: connection failed or was lost ({line}); run again, "
            "what was written by then is found and kept"
        )
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName):
        return TerminalError(f"database: {line}; run `billing-etl migrate` first")
    return TerminalError(f"database: refused ({line}); nothing was written")


def take_lock(
    connection: Connection,
    statement: str,
    parameters: Mapping[str, Any] | Sequence[Any],
    *,
    who: str,
    waits_for: str,
) -> psycopg.Cursor[TupleRow]:
    """Executes a statement that takes locks; a run that has to wait for one says for what.

    Args:
        connection: its open transaction is gone on with; a lost first attempt leaves no trace.
        statement: what takes the locks, whole or not at all.
        parameters: of the statement.
        who: what is kept waiting, such as a source and its hour.
        waits_for: what holds the locks.

    Raises:
        RetryableError: the locks were not free within the lock wait.
    """
    # One round trip each: before, the statement, after. A lock that is free again within 100 ms is
    # worth no line in the log.
    connection.execute(b"savepoint taking; set local lock_timeout = '100ms'")
    try:
        cursor = connection.execute(statement.encode(), parameters)
        connection.execute(b"set local lock_timeout to default; release savepoint taking")
        return cursor
    except psycopg.errors.LockNotAvailable:
        _log.warning("%s: waits for %s, at most %s s", who, waits_for, LOCK_WAIT_SECONDS)
    connection.execute(b"rollback to savepoint taking; release savepoint taking")
    try:
        return connection.execute(statement.encode(), parameters)
    except psycopg.errors.LockNotAvailable:
        raise RetryableError(
            f"{who}: waited {LOCK_WAIT_SECONDS} s for {waits_for}; nothing was written, run again "
            "when that has ended"
        ) from None


def commit_unflushed(connection: Connection) -> None:
    """Commits what must not wait for the disk: it gets there at the latest with the next commit.

    For what is of no use without work that is committed later: that takes it along.
    """
    connection.execute("set local synchronous_commit = off")
    connection.commit()


def one_row(connection: Connection, query: str, parameters: dict[str, Any]) -> TupleRow:
    """The only row of a query that always gives one."""
    row = connection.execute(query.encode(), parameters).fetchone()
    if row is None:
        raise TerminalError("database: a query that always gives a row gave none")
    return row
