"""Objectives, alerts and notices in the database (docs/alerts.md)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from psycopg.rows import class_row

from billing_etl.masking import without_emails
from billing_etl.objectives import RULES, Alert, KnownAlert, Measure, NoticeKind, Told
from billing_etl.store.database import Connection, sql


@dataclass(frozen=True, slots=True)
class Notice:
    """What one connection is told about an alert; the same ``notice_id`` however often it is sent.

    Values are as they were seen last; ``closed_at``: when it was over, UTC.
    """

    notice_id: str
    kind: NoticeKind
    rule: str
    subject: str
    what: str
    remedy: str
    value: Decimal | None
    threshold: Decimal | None
    since: datetime
    opened_at: datetime
    closed_at: datetime | None


def lock_alerts(connection: Connection) -> None:
    """Makes this transaction the one that opens and closes alerts."""
    connection.execute(b"select pg_advisory_xact_lock(hashtext('billing_etl alerts'))")


def measures(connection: Connection, at: datetime) -> list[Measure]:
    """What is measured for each objective, as it stands at that time."""
    with connection.cursor(row_factory=class_row(Measure)) as cursor:
        return cursor.execute(sql("alerts/measures").encode(), {"at": at}).fetchall()


def note_settings(
    connection: Connection, thresholds: Mapping[str, Decimal], source_ids: Sequence[str]
) -> None:
    """Keeps thresholds, and which sources are collected; without any source that is not known."""
    connection.execute(
        sql("alerts/note_objectives").encode(),
        {
            "rules": [rule.name for rule in RULES],
            "units": [rule.unit for rule in RULES],
            "thresholds": [thresholds.get(rule.name) for rule in RULES],
        },
    )
    if source_ids:
        connection.execute(sql("alerts/note_sources").encode(), {"source_ids": list(source_ids)})


def keep(connection: Connection, alert: Alert, at: datetime) -> None:
    """Opens the alert, or brings the open one of its rule and subject up to date."""
    connection.execute(sql("alerts/keep").encode(), asdict(alert) | {"at": at})


def close(
    connection: Connection, rules: Iterable[str], still: Iterable[tuple[str, str]], at: datetime
) -> None:
    """Closes the open alerts of these rules but those that are ``still`` so (rule, subject)."""
    kept = list(still)
    connection.execute(
        sql("alerts/close").encode(),
        {
            "rules": list(rules),
            "kept_rules": [rule for rule, _ in kept],
            "kept_subjects": [subject for _, subject in kept],
            "at": at,
        },
    )


def close_one(connection: Connection, rules: Iterable[str], subject: str, at: datetime) -> None:
    """Closes the open alerts of these rules and this subject."""
    connection.execute(
        b"update billing_core.alerts set closed_at = %(at)s"
        b" where closed_at is null and rule = any (%(rules)s) and subject = %(subject)s",
        {"rules": list(rules), "subject": subject, "at": at},
    )


def known_alerts(connection: Connection) -> list[KnownAlert]:
    """Alerts that somebody may still have to be told about."""
    told: dict[tuple[int, bool], dict[str, Told]] = {}
    for alert_id, is_open, name, kind, made_at, is_sent in connection.execute(
        sql("alerts/told").encode()
    ):
        of = told.setdefault((int(alert_id), bool(is_open)), {})
        if name is not None:
            of[name] = Told(kind, made_at, is_sent)
    return [KnownAlert(alert_id, is_open, of) for (alert_id, is_open), of in told.items()]


def add_notices(
    connection: Connection, notices: Sequence[tuple[int, NoticeKind, str]], at: datetime
) -> None:
    """Adds what is to be told: alert, kind, connection."""
    if notices:
        connection.execute(
            sql("alerts/add_notices").encode(),
            {
                "alert_ids": [alert_id for alert_id, _, _ in notices],
                "kinds": [kind for _, kind, _ in notices],
                "connections": [name for _, _, name in notices],
                "at": at,
            },
        )


def next_notice(connection: Connection, name: str) -> Notice | None:
    """The oldest unsent notice of an Airflow connection; the next one when this transaction ends.

    There are several senders: `watch`, and the callbacks of every run that fails or succeeds. One
    that went around another would tell the end of an alert before its beginning.
    """
    connection.execute(
        b"select pg_advisory_xact_lock(hashtext('billing_etl notices to ' || %s))", (name,)
    )
    with connection.cursor(row_factory=class_row(Notice)) as cursor:
        return cursor.execute(sql("alerts/next_notice").encode(), {"connection": name}).fetchone()


def note_sent(connection: Connection, notice_id: str, error: str | None) -> None:
    """Notes an attempt; without an error it was taken. Mail servers name who refused it."""
    masked = None if error is None else without_emails(error)
    connection.execute(sql("alerts/note_sent").encode(), {"notice_id": notice_id, "error": masked})


def open_alerts(connection: Connection) -> list[dict[str, Any]]:
    """Alerts on record that are open, by column name."""
    cursor = connection.execute(sql("alerts/open").encode())
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def asked_at(connection: Connection, source_id: str) -> datetime | None:
    """When the exporter of a source was last asked how far back it serves."""
    row = connection.execute(
        "select asked_at from billing_core.source_retention"
        " join billing_core.sources using (source_key) where source_id = %s",
        (source_id,),
    ).fetchone()
    return None if row is None else row[0]


def note_retention(connection: Connection, source_id: str, oldest_ns: int) -> None:
    """Keeps the oldest snapshot that an exporter served just now."""
    connection.execute(
        sql("alerts/note_retention").encode(), {"source_id": source_id, "oldest_ns": oldest_ns}
    )
