"""Drops what nobody needs any more, table by table, in bounded batches (docs/maintenance.md).

A rule names rows that no bill, proof, statement or replay can still ask for; how long they stay
beyond that is a setting. The database frees their space by its vacuum.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from billing_etl.pipeline.shut_out import shutting_out
from billing_etl.settings import Settings
from billing_etl.store import maintenance
from billing_etl.store.database import Connection

# Of payloads more than the largest hour brings in, so that hourly calls keep up; few enough to
# take a second.
MOST_AT_ONCE: Final = 20_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Dropped:
    """What one rule dropped, or would drop; ``keep`` None: everything is kept."""

    name: str
    keep: timedelta | None
    rows: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "keep_seconds": None if self.keep is None else int(self.keep.total_seconds()),
            "rows": self.rows,
        }


def rules(settings: Settings) -> dict[str, timedelta | None]:
    """How long what a rule names stays, by its name in the order of work; None: for ever."""
    keep = settings.retention
    return {
        "payloads": settings.payload_retention,
        "runs": keep["runs"],
        "findings": keep["findings"],
        "alerts": keep["alerts"],
        # Of archived days. A bad sample goes after its snapshot.
        "snapshots": keep["facts"],
        "lookback": keep["facts"],
        "quarantine": _longer(keep["facts"], keep["quarantine"]),
        # The last, as it may find its table in use.
        "closings": keep["facts"],
    }


def _longer(one: timedelta | None, other: timedelta | None) -> timedelta | None:
    return None if one is None or other is None else max(one, other)


def drop_all(
    connection: Connection,
    settings: Settings,
    now: datetime,
    *,
    dry_run: bool,
    most: int = MOST_AT_ONCE,
) -> list[Dropped]:
    """Applies every rule until nothing is due, a transaction per batch.

    Args:
        connection: in autocommit.
        settings: say how long things stay.
        now: the wall clock.
        dry_run: only counts.
        most: rows per batch; of closings it is a day.

    Raises:
        RetryableError: closings were in use all the time; everything else is done.
    """
    found = []
    for name, keep in rules(settings).items():
        rows = 0
        if keep is not None:
            if dry_run:
                rows = maintenance.count_due(connection, name, now - keep)
            else:
                rows = _drop(connection, name, now - keep, most)
        found.append(Dropped(name, keep, rows))
    return found


def _drop(connection: Connection, name: str, before: datetime, most: int) -> int:
    total = 0
    who = f"{name} that are older than {before:%Y-%m-%dT%H:%MZ}: not all dropped"
    while dropped := shutting_out(
        lambda: maintenance.drop_due(connection, name, before, most), who, name
    ):
        total += dropped
        _log.info("%s: %d dropped that are older than %s", name, total, before)
    return total


def drop_payloads(
    connection: Connection, settings: Settings, now: datetime, most: int = MOST_AT_ONCE
) -> int:
    """Drops up to ``most`` payloads that are due and gives their number.

    Digests, sizes and counts stay for ever, so a statement or a check can still tell that an
    object is the one that was sealed. It can no longer be sent again.

    Due: delivered longer ago than BILLING_PAYLOAD_RETENTION, and the hour was found clean since,
    by both checks that read payloads, with nothing of it different.
    """
    retention = settings.payload_retention
    dropped = maintenance.drop_due(connection, "payloads", now - retention, most)
    if dropped:
        _log.info("%d payloads dropped that were delivered %s ago", dropped, retention)
    return dropped
