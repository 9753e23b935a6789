"""Counts what a pipeline process does with its database, from inside that process.

The code runs as it is; its calls of psycopg are counted and timed on their way.
"""

import time
from dataclasses import asdict, dataclass
from typing import Any

import psycopg

from benchmarks.scaling.processes import scheduled_seconds
from billing_etl.store import ratings
from billing_etl.store.database import Connection


@dataclass(slots=True)
class Observed:
    """What was done since ``clear``.

    Attributes:
        round_trips: questions to the database that were waited for.
        commit_wait_seconds: in commits, while neither this process nor its backend was at work or
            waited for a core: the disk.
        locked: how often the rating lock was held to the end of a transaction.
        locked_seconds, locked_worker_seconds, locked_database_seconds: under it: as the clock
            says, and CPU of this process and of its backend.
        locked_round_trips, locked_commit_wait_seconds: under it.
    """

    round_trips: int = 0
    commit_wait_seconds: float = 0.0
    locked: int = 0
    locked_seconds: float = 0.0
    locked_worker_seconds: float = 0.0
    locked_database_seconds: float = 0.0
    locked_round_trips: int = 0
    locked_commit_wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Lock:
    """What had been used when the rating lock was taken."""

    taken_at: float
    worker_seconds: float
    database_seconds: float
    round_trips: int


class Observer:
    """Watches every connection of this process from ``start`` on; there is no way back."""

    def __init__(self) -> None:
        self.seen = Observed()
        self._lock: _Lock | None = None

    def clear(self) -> None:
        self.seen = Observed()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self.seen)

    def start(self) -> None:
        wait, commit = psycopg.Connection.wait, psycopg.Connection.commit
        take = ratings.try_lock_rating

        def counted_wait(connection: Connection, *arguments: Any, **options: Any) -> Any:
            self.seen.round_trips += 1
            return wait(connection, *arguments, **options)

        def timed_commit(connection: Connection) -> None:
            started, working = time.perf_counter(), _working_seconds(connection)
            commit(connection)
            working = _working_seconds(connection) - working
            self._committed(connection, max(0.0, time.perf_counter() - started - working))

        def seen_lock(connection: Connection, *, may_wait: bool) -> bool:
            taken = take(connection, may_wait=may_wait)
            if taken:
                self._lock = _Lock(
                    time.perf_counter(),
                    time.process_time(),
                    _backend_seconds(connection),
                    self.seen.round_trips,
                )
            return taken

        psycopg.Connection.wait = counted_wait  # type: ignore[assignment]
        psycopg.Connection.commit = timed_commit  # type: ignore[method-assign, assignment]
        ratings.try_lock_rating = seen_lock

    def _committed(self, connection: Connection, wait_seconds: float) -> None:
        seen, lock, self._lock = self.seen, self._lock, None
        seen.commit_wait_seconds += wait_seconds
        if lock is None:
            return
        seen.locked += 1
        seen.locked_seconds += time.perf_counter() - lock.taken_at
        seen.locked_worker_seconds += time.process_time() - lock.worker_seconds
        seen.locked_database_seconds += _backend_seconds(connection) - lock.database_seconds
        seen.locked_round_trips += seen.round_trips - lock.round_trips
        seen.locked_commit_wait_seconds += wait_seconds


def _backend_seconds(connection: Connection) -> float:
    """CPU of the connection's server process, which runs on this machine."""
    return scheduled_seconds(f"{connection.info.backend_pid}/schedstat")[0]


def _working_seconds(connection: Connection) -> float:
    """CPU of this thread and of its backend so far, and their waits for a core."""
    backend = scheduled_seconds(f"{connection.info.backend_pid}/schedstat")
    return sum(backend) + sum(scheduled_seconds("thread-self/schedstat"))
