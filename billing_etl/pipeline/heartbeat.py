"""Says when events wait and nothing is delivered (delivery contract, "Heartbeat")."""

import logging
from datetime import UTC, datetime
from typing import Any, Final

from billing_etl.errors import BillingError
from billing_etl.pipeline.engine import Engine
from billing_etl.settings import Settings
from billing_etl.store import attention, deliveries, heartbeats
from billing_etl.store.database import Connection

_STALLED: Final = "delivery_stalled"

_log = logging.getLogger(__name__)


def delivery_health(engine: Engine, *, now: datetime | None = None) -> list[dict[str, Any]]:
    """What was offered and delivered, what waits, and the state, per event type."""
    with engine.connect() as connection:
        return heartbeats.delivery_health(connection, now or datetime.now(UTC))


def watch_delivery(engine: Engine, *, now: datetime | None = None) -> None:
    """Opens a finding ``delivery_stalled`` for an event type that is, and closes it afterwards.

    Who watches does other work: that the database is away is only logged.
    """
    at = now or datetime.now(UTC)
    try:
        with engine.connect() as connection:
            _note_settings(connection, engine.settings)
            known = attention.open_subjects(connection, _STALLED)
            is_quiet = bool(heartbeats.quiet_event_types(connection, at))
            health = heartbeats.delivery_health(connection, at) if is_quiet else []
        stalled = [row for row in health if row["state"] == "stalled"]
        if not stalled and not known:
            return
        with engine.run("heartbeat") as run, engine.connect() as connection:
            for row in stalled:
                message = _message(row)
                _log.error("%s", message)
                attention.keep_finding(
                    connection, _STALLED, row["event_type"], message, run.run_id,
                    expected=0, actual=row["backlog"],
                )  # fmt: skip
            still = [row["event_type"] for row in stalled]
            attention.withdraw_findings(connection, _STALLED, still, run.run_id)
    except BillingError as error:
        _log.warning("heartbeat of delivery: %s", error)


def _note_settings(connection: Connection, settings: Settings) -> None:
    """The view judges by the settings of whoever watched last."""
    meters = deliveries.meters(connection)
    exported = [meter for meter in meters if settings.exports(meter.event_type)]
    heartbeats.note_settings(
        connection, meters, exported, settings.seal_grace, settings.delivery_alert
    )


def _message(row: dict[str, Any]) -> str:
    """The numbers, then why; what the store said stands in the last error."""
    last_success = row["last_success"]
    since = f"since {last_success:%Y-%m-%dT%H:%M:%SZ}" if last_success else "ever"
    reason = row["last_error"] or "no export failed: is the export running?"
    return (
        f"{row['event_type']}: {row['backlog']} events wait, the oldest of "
        f"{row['oldest_undelivered']:%Y-%m-%dT%H:%MZ}, and nothing was delivered {since}; {reason}"
    )
