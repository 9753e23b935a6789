"""What the Billing page shows, as the statements in ``sql/queries/page`` give it.

Every answer is bounded: by the hours asked for, or by a limit. Bytes are integers, amounts exact.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

from psycopg.rows import class_row

from billing_etl.hours import Hour, HourRange
from billing_etl.store.database import Connection, sql

# More rows than a person reads; sources are cells of a map, of which more are useful.
MAX_SOURCES: Final = 500
MAX_ROWS: Final = 50
TOP_ACCOUNTS: Final = 10
# A page that someone looks at must not hold the database for longer than they would wait.
STATEMENT_TIMEOUT: Final = "15s"


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source; ``states`` has one letter per hour, explained in ``sources.sql``."""

    source_id: str
    enabled: bool
    checkpoint: datetime | None
    lag_seconds: int | None
    last_attempted_at: datetime | None
    last_succeeded_at: datetime | None
    last_error: str | None
    states: str
    total: int


@dataclass(frozen=True, slots=True)
class HourUsage:
    """Bytes and money of one hour; ``hour`` counts hours since 1970."""

    hour: int
    total_bytes: int
    included_bytes: int
    amount: Decimal
    unrated_bytes: int


@dataclass(frozen=True, slots=True)
class AccountUsage:
    account_uuid: str
    total_bytes: int
    included_bytes: int
    amount: Decimal
    balance: Decimal | None
    suspend_state: str
    total: int


@dataclass(frozen=True, slots=True)
class Unrated:
    account_hours: int
    oldest_hour: datetime | None


@dataclass(frozen=True, slots=True)
class WaitingObjects:
    """Sealed objects of an hour that were not delivered."""

    hour: datetime
    event_type: str
    objects: int
    events: int
    size_bytes: int
    sealed_at: datetime
    attempts: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class CheckResults:
    """How often a check of reconciliation ended how."""

    check_name: str
    clean: int
    repaired: int
    different: int
    skipped: int
    last_hour: datetime
    checked_at: datetime


@dataclass(frozen=True, slots=True)
class OpenFinding:
    finding_id: int
    kind: str
    source_id: str | None
    hour: datetime | None
    check_name: str | None
    message: str
    opened_at: datetime
    total: int


@dataclass(frozen=True, slots=True)
class Notable:
    """Resets or gaps of a source."""

    source_id: str
    kind: str
    cases: int
    total_bytes: int
    last_hour: datetime


@dataclass(frozen=True, slots=True)
class SourceHour:
    """One hour of a source. ``state`` None: no collection of it succeeded yet."""

    source_id: str
    interval_seconds: int
    state: str | None
    expected_snapshots: int | None
    snapshots: int | None
    samples: int | None
    used: int | None
    duplicates: int | None
    baselines: int | None
    quarantined: int | None
    missing_minutes: int | None
    first_instant: datetime | None
    last_instant: datetime | None
    changed_at: datetime | None
    run_id: int | None
    external_id: str | None
    failed_at: datetime | None
    error: str | None
    failed_run_id: int | None
    failed_external_id: str | None


@dataclass(frozen=True, slots=True)
class NodeMinutes:
    """A node expected in an hour; ``missing``: first minutes of slots without a snapshot."""

    env: str
    node_id: str
    snapshots: int
    slot_minutes: int
    missing: list[int]


@dataclass(frozen=True, slots=True)
class HourEvent:
    """Something unusual about a source-hour."""

    kind: str
    cases: int
    message: str | None


def only_look(connection: Connection) -> None:
    """Makes the transaction one that sees one moment, writes nothing, and gives up in time."""
    connection.execute("set transaction isolation level repeatable read, read only")
    connection.execute("select set_config('statement_timeout', %s, true)", (STATEMENT_TIMEOUT,))


def sources(connection: Connection, hours: HourRange, due_before: Hour) -> list[SourceRow]:
    """Sources with the state of each hour, most hours that need someone first.

    Args:
        connection: the connection.
        hours: one letter of ``states`` each.
        due_before: hours before this one should have been collected.
    """
    bounds = _bounds(hours) | {"due_before": due_before.index, "limit": MAX_SOURCES}
    return _rows(connection, "sources", SourceRow, bounds)


def usage_by_hour(connection: Connection, hours: HourRange) -> list[HourUsage]:
    """Hours with usage, oldest first."""
    return _rows(connection, "usage_by_hour", HourUsage, _bounds(hours))


def top_accounts(connection: Connection, hours: HourRange) -> list[AccountUsage]:
    """The accounts that pay most, then those that use most."""
    return _rows(connection, "top_accounts", AccountUsage, _bounds(hours) | {"limit": TOP_ACCOUNTS})


def unrated(connection: Connection) -> Unrated:
    """What waits to be rated."""
    return _rows(connection, "unrated", Unrated, {})[0]


def waiting_objects(connection: Connection) -> list[WaitingObjects]:
    """Sealed objects that were not delivered, oldest hour first."""
    return _rows(connection, "waiting_objects", WaitingObjects, {"limit": MAX_ROWS})


def checks(connection: Connection, hours: HourRange) -> list[CheckResults]:
    """Results of reconciliation, by check."""
    return _rows(connection, "checks", CheckResults, _bounds(hours))


def findings(connection: Connection) -> list[OpenFinding]:
    """Open findings, newest first."""
    return _rows(connection, "findings", OpenFinding, {"limit": MAX_ROWS})


def notable(connection: Connection, hours: HourRange) -> list[Notable]:
    """Resets and gaps, by source and kind."""
    return _rows(connection, "notable", Notable, _bounds(hours) | {"limit": MAX_ROWS})


def source_hour(connection: Connection, source_id: str, hour: Hour) -> SourceHour | None:
    """One hour of a source; None: the source was never collected."""
    found = _rows(connection, "hour", SourceHour, {"source_id": source_id, "hour": hour.index})
    return found[0] if found else None


def hour_nodes(connection: Connection, source_id: str, hour: Hour) -> list[NodeMinutes]:
    """The nodes expected in an hour (C12), those that were seen least first."""
    parameters = {"source_id": source_id, "hour": hour.index, "limit": MAX_ROWS}
    return _rows(connection, "hour_nodes", NodeMinutes, parameters)


def hour_events(connection: Connection, source_id: str, hour: Hour) -> list[HourEvent]:
    """Resets, gaps, quarantined samples and open findings of a source-hour, by kind."""
    return _rows(connection, "hour_events", HourEvent, {"source_id": source_id, "hour": hour.index})


_Row = TypeVar("_Row")


def _rows(
    connection: Connection, name: str, row: type[_Row], parameters: Mapping[str, Any]
) -> list[_Row]:
    with connection.cursor(row_factory=class_row(row)) as cursor:
        return cursor.execute(sql(f"page/{name}").encode(), parameters).fetchall()


def _bounds(hours: HourRange) -> dict[str, Any]:
    return {"from_hour": hours.start.index, "to_hour": hours.end.index}
