"""Run records: append-only history of what was done, when and with which end."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from psycopg.types.json import Jsonb

from billing_etl.errors import BillingError
from billing_etl.masking import without_emails
from billing_etl.store.database import Connection, commit_unflushed, one_row

Connect: TypeAlias = Callable[[], AbstractContextManager[Connection]]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Run:
    """A run under way; ``counts`` is stored when it ends."""

    run_id: int
    counts: dict[str, Any] = field(default_factory=dict)


@contextmanager
def recorded_run(
    connect: Connect, command: str, hours: str | None, external_id: str | None
) -> Iterator[Run]:
    """Records the start of a run at once and its end in either case, outside its transactions."""
    with connect() as connection:
        (run_id,) = one_row(
            connection,
            "insert into billing_core.runs (command, hours, external_id)"
            " values (%(command)s, %(hours)s, %(external_id)s) returning run_id",
            {"command": command, "hours": hours, "external_id": external_id},
        )
    run = Run(run_id)
    try:
        yield run
    except BillingError as error:
        _finish(connect, run, "failed", str(error))
        raise
    except BaseException as error:
        _finish(connect, run, "failed", type(error).__name__)
        raise
    _finish(connect, run, "success", None)


def _finish(connect: Connect, run: Run, status: str, error: str | None) -> None:
    """Never changes the outcome: what the run has committed stands, whatever its record says.

    Errors may quote what was served: email addresses are masked in them, also among the counts.
    """
    try:
        with connect() as connection:
            connection.execute(
                "update billing_core.runs set finished_at = clock_timestamp(), status = %(status)s,"
                " error = %(error)s, counts = %(counts)s where run_id = %(run_id)s",
                {
                    "status": status,
                    "error": None if error is None else without_emails(error),
                    "counts": Jsonb(_masked(run.counts)),
                    "run_id": run.run_id,
                },
            )
            commit_unflushed(connection)
    except BillingError as unrecorded:
        _log.warning("run %d: its end (%s) is not recorded: %s", run.run_id, status, unrecorded)


def _masked(counts: Any) -> Any:
    if isinstance(counts, str):
        return without_emails(counts)
    if isinstance(counts, dict):
        return {name: _masked(value) for name, value in counts.items()}
    return [_masked(value) for value in counts] if isinstance(counts, list) else counts
