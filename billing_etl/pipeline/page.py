"""What the Billing page shows: coverage, usage, work that is left, and one hour of a source.

Each answer is read from one snapshot of the database, in a transaction that writes nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from billing_etl.hours import Hour, HourRange
from billing_etl.pipeline.engine import Engine
from billing_etl.store import heartbeats, page
from billing_etl.store.database import Connection

# The page looks at a week at most: cells of a map that a person can still tell apart.
MAX_HOURS: Final = 168
# An hour is collected within minutes of its end; one that is not by then needs someone.
DUE_AFTER: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Coverage:
    """Sources and their hours; ``never`` names enabled sources that were never collected."""

    from_hour: datetime
    to_hour: datetime
    now: datetime
    sources: list[page.SourceRow]
    total_sources: int
    never: list[str]
    collectable: list[str]


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes and money over time, and the accounts that pay most."""

    hours: list[page.HourUsage]
    accounts: list[page.AccountUsage]
    unrated: page.Unrated


@dataclass(frozen=True, slots=True)
class Work:
    """Delivery, reconciliation, findings, resets and gaps."""

    delivery: list[dict[str, Any]]
    waiting: list[page.WaitingObjects]
    checks: list[page.CheckResults]
    findings: list[page.OpenFinding]
    notable: list[page.Notable]


@dataclass(frozen=True, slots=True)
class HourDetails:
    """One hour of a source; ``known`` None: the source was never collected."""

    known: page.SourceHour | None
    nodes: list[page.NodeMinutes]
    events: list[page.HourEvent]


def coverage(engine: Engine, hours: HourRange, now: datetime) -> Coverage:
    """How far each source is, with the state of each of its hours."""
    with _looking(engine) as connection:
        rows = page.sources(connection, hours, due_before=Hour.of(now - DUE_AFTER))
    total = rows[0].total if rows else 0
    enabled = sorted(source.source_id for source in engine.settings.enabled_sources)
    # Only where all sources are here is it known which are not.
    known = {row.source_id for row in rows} if total == len(rows) else set(enabled)
    return Coverage(
        from_hour=hours.start.start,
        to_hour=hours.end.start,
        now=now,
        sources=rows,
        total_sources=total,
        never=[source_id for source_id in enabled if source_id not in known],
        collectable=enabled,
    )


def usage(engine: Engine, hours: HourRange) -> Usage:
    """What was used and what it costs, as far as it is rated."""
    with _looking(engine) as connection:
        return Usage(
            hours=page.usage_by_hour(connection, hours),
            accounts=page.top_accounts(connection, hours),
            unrated=page.unrated(connection),
        )


def work(engine: Engine, hours: HourRange, now: datetime) -> Work:
    """What waits for delivery or for a person, and what was unusual."""
    with _looking(engine) as connection:
        return Work(
            delivery=heartbeats.delivery_health(connection, now),
            waiting=page.waiting_objects(connection),
            checks=page.checks(connection, hours),
            findings=page.findings(connection),
            notable=page.notable(connection, hours),
        )


def hour_details(engine: Engine, source_id: str, hour: Hour) -> HourDetails:
    """What was expected of a source in an hour, what came, and what went wrong."""
    with _looking(engine) as connection:
        return HourDetails(
            known=page.source_hour(connection, source_id, hour),
            nodes=page.hour_nodes(connection, source_id, hour),
            events=page.hour_events(connection, source_id, hour),
        )


@contextmanager
def _looking(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        page.only_look(connection)
        yield connection
