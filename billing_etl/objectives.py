"""Objectives: measured values against thresholds, as a list of alerts; and who is to be told.

Rules are one list. `judge` is the only place that compares; what is measured comes from one
statement (``sql/views/16_objectives.sql``).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, TypeAlias

Unit: TypeAlias = Literal["seconds", "count", "share"]
NoticeKind: TypeAlias = Literal["opened", "reminder", "resolved"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What is promised, and what to do when it is broken.

    Attributes:
        name: stable; alerts, metrics and the view bear it.
        unit: of value and threshold.
        what: what is wrong, with ``{subject}``, ``{value}`` and ``{threshold}``.
        remedy: what to do, with ``{subject}``.
    """

    name: str
    unit: Unit
    what: str
    remedy: str


RULES: Final = (
    Rule(
        "fact_lag",
        "seconds",
        "source {subject}: facts are {value} behind, more than {threshold}",
        "`billing-etl status` shows its last error, the log of its `collect` task in DAG "
        "collect_and_rate the rest; without an error, see whether that DAG is paused; the next "
        "run collects what is open",
    ),
    Rule(
        "undelivered_age",
        "seconds",
        "{subject}: events wait for delivery since {value}, longer than {threshold}",
        "last_error in billing.delivery_health and the log of DAG export_hourly say why; without "
        "an error, see whether that DAG is paused; the next run sends what waits",
    ),
    Rule(
        "open_findings",
        "count",
        "{value} open findings of kind {subject}, more than {threshold}",
        "`billing-etl findings list` shows them; close what is settled with "
        "`billing-etl findings close ID --reason T`",
    ),
    Rule(
        "retention_used",
        "share",
        "source {subject}: of what its exporter still serves, {value} is not settled here, more "
        "than {threshold}; what it forgets is lost",
        "repair what its last error in `billing-etl status` says; then the next run, or "
        "`billing-etl backfill --source {subject}`, collects what is open",
    ),
    Rule(
        "unattributed_share",
        "share",
        "source {subject}: {value} of the last day's samples are on nobody's bill, more than "
        "{threshold}",
        "`billing-etl quarantine list` shows samples and reasons; repair the exporter, then "
        "`billing-etl quarantine replay --source {subject}`",
    ),
)


@dataclass(frozen=True, slots=True)
class Measure:
    """A measured value.

    Attributes:
        rule, subject: what was measured, and of what.
        value: in the unit of the rule.
        since: since when it is above zero; None: it is not, or unknown.
        per_second: by how much it grows by itself; None: it does not.
    """

    rule: str
    subject: str
    value: Decimal
    since: datetime | None
    per_second: Decimal | None


@dataclass(frozen=True, slots=True)
class Alert:
    """A broken objective, or a run that failed: what, since when, and what to do."""

    rule: str
    subject: str
    what: str
    remedy: str
    since: datetime
    value: Decimal | None = None
    threshold: Decimal | None = None


def judge(
    measures: Iterable[Measure], thresholds: Mapping[str, Decimal], at: datetime
) -> list[Alert]:
    """What is above its threshold, in the order of the rules, then by subject.

    Args:
        measures: values as they were at ``at``.
        thresholds: the most that is fine, by rule; a rule that is not named is off.
        at: when it was measured.
    """
    rules = {rule.name: rule for rule in RULES if rule.name in thresholds}
    order = {name: place for place, name in enumerate(rules)}
    broken = [
        measure
        for measure in measures
        if measure.rule in rules and measure.value > thresholds[measure.rule]
    ]
    broken.sort(key=lambda measure: (order[measure.rule], measure.subject))
    return [_alert(rules[each.rule], each, thresholds[each.rule], at) for each in broken]


def _alert(rule: Rule, measure: Measure, threshold: Decimal, at: datetime) -> Alert:
    words = {
        "subject": measure.subject,
        "value": spoken(measure.value, rule.unit),
        "threshold": spoken(threshold, rule.unit),
    }
    return Alert(
        rule.name,
        measure.subject,
        rule.what.format(**words),
        rule.remedy.format(**words),
        _passed(measure, threshold, at),
        measure.value,
        threshold,
    )


def _passed(measure: Measure, threshold: Decimal, at: datetime) -> datetime:
    """When the value passed the threshold, to the second."""
    if measure.per_second:
        seconds = (measure.value - threshold) / measure.per_second
        return (at - timedelta(seconds=float(seconds))).replace(microsecond=0)
    return measure.since or at


def spoken(value: Decimal, unit: Unit) -> str:
    """A value for people: ``4 h 5 min``, ``12``, ``1.5%``."""
    if unit == "seconds":
        minutes = int(value) // 60
        hours, days = minutes // 60, minutes // (24 * 60)
        if days >= 2:
            return f"{days} d {hours % 24} h"
        return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"
    if unit == "share":
        return f"{(value * 100).quantize(Decimal('0.01')).normalize():f}%"
    return f"{value.normalize():f}"


@dataclass(frozen=True, slots=True)
class Told:
    """The newest notice about an alert to one connection."""

    kind: NoticeKind
    made_at: datetime
    is_sent: bool


@dataclass(frozen=True, slots=True)
class KnownAlert:
    """An alert on record, open or over, and what each connection was told about it last."""

    alert_id: int
    is_open: bool
    told: Mapping[str, Told]


def due_notices(
    alerts: Iterable[KnownAlert], connections: Sequence[str], at: datetime, reminder: timedelta
) -> list[tuple[int, NoticeKind, str]]:
    """What is to be told now: the alert, the kind of notice, and the connection.

    Once when an alert opens, again each ``reminder`` while it is open, once when it is over; a
    connection that was told nothing is not told the end. While a notice is still to be sent, no
    reminder joins it.
    """
    due: list[tuple[int, NoticeKind, str]] = []
    for alert in alerts:
        for connection in connections:
            told = alert.told.get(connection)
            if told is None:
                if alert.is_open:
                    due.append((alert.alert_id, "opened", connection))
            elif not alert.is_open:
                if told.kind != "resolved":
                    due.append((alert.alert_id, "resolved", connection))
            elif told.is_sent and at - told.made_at >= reminder:
                due.append((alert.alert_id, "reminder", connection))
    return due
