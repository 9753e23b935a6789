"""Alerts: objectives looked at, runs that failed, and notices to whoever is to know.

What is open, and who was told, stands in the database: looking twice changes nothing. A notice is
made in the transaction that opens or closes its alert, and sent afterwards, at least once, always
under the same id.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, TypeAlias

from billing_etl.errors import BillingError
from billing_etl.objectives import RULES, Alert, due_notices, judge
from billing_etl.pipeline.engine import Engine
from billing_etl.settings import Settings
from billing_etl.store import alerts as store
from billing_etl.store.alerts import Notice

__all__ = [
    "DAG_FAILED",
    "DEADLINE_MISSED",
    "Alert",
    "Notice",
    "alerts_now",
    "end_alerts",
    "message",
    "raise_alert",
    "send_notices",
    "watch",
]

# Alerts about runs; what opens and ends them are callbacks of Airflow, not measured values.
DAG_FAILED: Final = "dag_failed"
DEADLINE_MISSED: Final = "deadline_missed"

# Takes the name of a connection and a message; the text of a BillingError is kept.
Send: TypeAlias = Callable[[str, dict[str, Any]], None]

_log = logging.getLogger(__name__)


def alerts_now(engine: Engine, *, now: datetime | None = None) -> list[dict[str, Any]]:
    """What is wrong now, by the settings given, and runs that failed. Nothing is written or sent.

    ``opened_at``: since when it is on record; None: no run has watched since it began.
    """
    at = now or datetime.now(UTC)
    with engine.connect() as connection:
        judged = judge(store.measures(connection, at), thresholds(engine.settings), at)
        known = store.open_alerts(connection)
    opened = {(row["rule"], row["subject"]): row["opened_at"] for row in known}
    names = {rule.name for rule in RULES}
    measured = [
        asdict(alert) | {"opened_at": opened.get((alert.rule, alert.subject))} for alert in judged
    ]
    return measured + [row for row in known if row["rule"] not in names]


def thresholds(settings: Settings) -> dict[str, Decimal]:
    """The most that is fine, by rule, in its unit; a rule that is off is not named."""
    values: dict[str, Decimal | None] = {
        "fact_lag": _seconds(settings.alert_fact_lag),
        "undelivered_age": _seconds(settings.alert_undelivered_age),
        "open_findings": settings.alert_open_findings,
        "retention_used": settings.alert_retention_used,
        "unattributed_share": settings.alert_unattributed_share,
    }
    return {rule: value for rule, value in values.items() if value is not None}


def _seconds(duration: Any) -> Decimal | None:
    return None if duration is None else Decimal(int(duration.total_seconds()))


def watch(
    engine: Engine, connections: Sequence[str] = (), *, now: datetime | None = None
) -> list[Alert]:
    """Looks at every objective, opens and closes alerts, and makes the notices that are due.

    Args:
        engine: settings and database.
        connections: names of those that are told.
        now: the time to judge by.
    """
    at = now or datetime.now(UTC)
    with engine.connect() as connection:
        store.lock_alerts(connection)
        limits = thresholds(engine.settings)
        enabled = [source.source_id for source in engine.settings.enabled_sources]
        store.note_settings(connection, limits, enabled)
        judged = judge(store.measures(connection, at), limits, at)
        for alert in judged:
            store.keep(connection, alert, at)
        still = [(alert.rule, alert.subject) for alert in judged]
        store.close(connection, [rule.name for rule in RULES], still, at)
        _make_notices(connection, engine, connections, at)
    for alert in judged:
        _log.warning("%s; since %s; %s", alert.what, f"{alert.since:%Y-%m-%dT%H:%MZ}", alert.remedy)
    return judged


def raise_alert(
    engine: Engine, alert: Alert, connections: Sequence[str] = (), *, now: datetime | None = None
) -> None:
    """Opens an alert about a run, or brings the open one up to date; makes notices that are due."""
    at = now or datetime.now(UTC)
    with engine.connect() as connection:
        store.lock_alerts(connection)
        store.keep(connection, alert, at)
        _make_notices(connection, engine, connections, at)


def end_alerts(
    engine: Engine, dag_id: str, connections: Sequence[str] = (), *, now: datetime | None = None
) -> None:
    """Closes the alerts about runs of a DAG; makes notices that are due."""
    at = now or datetime.now(UTC)
    with engine.connect() as connection:
        store.lock_alerts(connection)
        store.close_one(connection, [DAG_FAILED, DEADLINE_MISSED], dag_id, at)
        _make_notices(connection, engine, connections, at)


def _make_notices(
    connection: Any, engine: Engine, connections: Sequence[str], at: datetime
) -> None:
    due = due_notices(
        store.known_alerts(connection), connections, at, engine.settings.alert_reminder
    )
    store.add_notices(connection, due, at)


def send_notices(engine: Engine, connections: Sequence[str], send: Send) -> dict[str, str]:
    """Sends what is unsent, oldest first; gives the errors of connections that did not take it.

    A connection that fails keeps what is left for the next time, and holds up no other.
    """
    errors: dict[str, str] = {}
    for name in connections:
        while name not in errors:
            with engine.connect() as connection:
                notice = store.next_notice(connection, name)
                if notice is None:
                    break
                error = None
                try:
                    send(name, message(notice))
                except Exception as caught:
                    # Of others the text is not known to be free of addresses and secrets.
                    known = isinstance(caught, BillingError)
                    error = str(caught) if known else type(caught).__name__
                    errors[name] = error
                    _log.error("connection %s: notice %s: %s", name, notice.notice_id, error)
                store.note_sent(connection, notice.notice_id, error)
    return errors


def message(notice: Notice) -> dict[str, Any]:
    """A notice as JSON: numbers as exact text, instants in UTC, and one line for people."""
    values = asdict(notice)
    return {
        "id": values.pop("notice_id"),
        "text": _text(notice),
        **{name: _plain(value) for name, value in values.items()},
    }


def _text(notice: Notice) -> str:
    since = f"{notice.since.astimezone(UTC):%Y-%m-%d %H:%MZ}"
    if notice.kind == "resolved":
        return f"[over] {notice.what} (since {since})"
    mark = "still: " if notice.kind == "reminder" else ""
    return f"[alert] {mark}{notice.what}. Since {since}. What to do: {notice.remedy}"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return f"{value:f}" if isinstance(value, Decimal) else value
