"""What a person looks at: status, quarantine, findings; and replaying quarantine."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from billing_etl.errors import UsageError
from billing_etl.hours import Hour, HourRange
from billing_etl.masking import without_emails
from billing_etl.objectives import Measure
from billing_etl.pipeline.alerts import alerts_now
from billing_etl.pipeline.collect import CollectSummary, collect_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.heartbeat import delivery_health
from billing_etl.pipeline.rehearsal import HOLD_SECONDS, Rehearsal, rehearse
from billing_etl.settings import Source
from billing_etl.store import alerts, attention
from billing_etl.store.database import sql


def status(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Sources with checkpoint and lag, coverage, delivery and its backlog, findings, alerts."""
    with engine.connect() as connection:
        shown = {
            name: attention.rows(connection, f"status/{name}")
            for name in ("sources", "coverage", "backlog", "open_findings")
        }
    return shown | {"delivery": delivery_health(engine), "alerts": alerts_now(engine)}


@dataclass(frozen=True, slots=True)
class StateNumbers:
    """State for metrics: measured objectives, and counts as (metric, value of its tag, value)."""

    measures: list[Measure]
    counts: list[tuple[str, str, float]]


def state_numbers(engine: Engine, *, now: datetime | None = None) -> StateNumbers:
    """What metrics tell of the state, by one look at the database."""
    at = now or datetime.now(UTC)
    with engine.connect() as connection:
        rows = connection.execute(sql("status/metrics").encode(), {"at": at})
        counts = [(str(name), str(tag), float(value)) for name, tag, value in rows]
        return StateNumbers(alerts.measures(connection, at), counts)


def quarantined(engine: Engine) -> list[dict[str, Any]]:
    """Every quarantined sample, newest first (C11)."""
    with engine.connect() as connection:
        return attention.rows(connection, "status/quarantine")


def replay_quarantine(engine: Engine, sources: Sequence[Source]) -> CollectSummary:
    """Collects every hour with quarantined samples again (C11); `rate` finishes what it changes."""
    waiting = _quarantined_hours(engine)
    summary = CollectSummary([], [])
    for source in sources:
        hours = [hour for source_id, hour in waiting if source_id == source.source_id]
        if hours:
            part = collect_hours(engine, [source], hours)
            summary.results.extend(part.results)
            summary.failures.extend(part.failures)
    return summary


def preview_replay(
    engine: Engine, sources: Sequence[Source], *, hold_seconds: float = HOLD_SECONDS
) -> Rehearsal:
    """What replaying quarantine, and rating what it changes, would change; nothing is kept.

    Raises: as ``rehearse``.
    """
    ids = {source.source_id for source in sources}
    wanted = [each for each in _quarantined_hours(engine) if each[0] in ids]
    # Where nothing waits, nothing is tried, whatever the hour.
    hours = [hour for _, hour in wanted] or [Hour.of(datetime.now(UTC))]
    span = HourRange(min(hours), max(hours).next)
    return rehearse(engine, sources, span, only=set(wanted), hold_seconds=hold_seconds)


def _quarantined_hours(engine: Engine) -> list[tuple[str, Hour]]:
    """Source-hours with quarantined samples that can be collected again, oldest first."""
    with engine.connect() as connection:
        rows = attention.rows(connection, "status/quarantined_hours")
    return [(row["source_id"], Hour(row["hour"])) for row in rows]


def findings(engine: Engine, *, include_closed: bool) -> list[dict[str, Any]]:
    """Findings, newest first."""
    with engine.connect() as connection:
        found = attention.rows(connection, "status/findings")
    return [row for row in found if include_closed or row["closed_at"] is None]


def close_finding(engine: Engine, finding_id: int, reason: str) -> None:
    """Closes a finding with a reason.

    Raises:
        UsageError: there is no such open finding, or the reason is empty.
    """
    if not reason.strip():
        raise UsageError("findings close: expected a reason, got nothing")
    with (
        engine.run("findings close") as run,
        engine.connect() as connection,
    ):
        if not attention.close_finding(connection, finding_id, without_emails(reason), run.run_id):
            raise UsageError(f"findings close: expected an open finding, got {finding_id}")
