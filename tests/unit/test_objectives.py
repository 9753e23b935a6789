"""Values against thresholds, and who is told when: pure functions over tables."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing_etl.objectives import (
    RULES,
    KnownAlert,
    Measure,
    NoticeKind,
    Told,
    due_notices,
    judge,
    spoken,
)

NOW = datetime(2026, 4, 8, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIMITS = {
    "fact_lag": Decimal(3 * 3600),
    "undelivered_age": Decimal(2 * 3600),
    "open_findings": Decimal(1),
    "retention_used": Decimal("0.5"),
    "unattributed_share": Decimal("0.01"),
}


def measure(
    rule: str, value: str, since: datetime | None = None, per_second: str | None = None
) -> Measure:
    return Measure(
        rule, "jp-1", Decimal(value), since, None if per_second is None else Decimal(per_second)
    )


AT_ITS_LIMIT = [
    ("fact_lag", "10800"),
    ("undelivered_age", "7200"),
    ("open_findings", "1"),
    ("retention_used", "0.5"),
    ("unattributed_share", "0.01"),
]


@pytest.mark.parametrize(("rule", "value"), AT_ITS_LIMIT)
def test_what_is_at_its_threshold_is_fine_and_what_is_above_is_not(rule: str, value: str) -> None:
    assert judge([measure(rule, value)], LIMITS, NOW) == []
    above = str(Decimal(value) + Decimal("0.000001"))
    (alert,) = judge([measure(rule, above)], LIMITS, NOW)
    assert (alert.rule, alert.subject) == (rule, "jp-1")
    assert (alert.value, alert.threshold) == (Decimal(above), LIMITS[rule])
    others = {name: limit for name, limit in LIMITS.items() if name != rule}
    assert judge([measure(rule, above)], others, NOW) == []


def test_every_rule_is_in_the_table_above() -> None:
    assert [rule.name for rule in RULES] == [rule for rule, _ in AT_ITS_LIMIT]


@pytest.mark.parametrize(
    ("rule", "value", "since", "per_second", "passed"),
    [
        # Grows by itself: three hours behind an hour ago.
        ("fact_lag", "14400", NOW - 4 * HOUR, "1", NOW - HOUR),
        # 60% of 72 hours: half was used 7.2 hours ago.
        (
            "retention_used",
            "0.6",
            NOW - 43.2 * HOUR,
            str(Decimal(1) / (72 * 3600)),
            NOW - 7.2 * HOUR,
        ),
        ("open_findings", "2", NOW - 5 * HOUR, None, NOW - 5 * HOUR),
        ("unattributed_share", "0.5", None, None, NOW),
    ],
)
def test_since_when(
    rule: str, value: str, since: datetime | None, per_second: str | None, passed: datetime
) -> None:
    (alert,) = judge([measure(rule, value, since, per_second)], LIMITS, NOW)
    assert abs(alert.since - passed) < timedelta(seconds=1)
    assert alert.since.microsecond == 0


def test_an_alert_says_what_is_wrong_and_what_to_do() -> None:
    (alert,) = judge([measure("fact_lag", "15900", NOW, "1")], LIMITS, NOW)
    assert alert.what == "source jp-1: facts are 4 h 25 min behind, more than 3 h 0 min"
    assert "billing-etl status" in alert.remedy
    (alert,) = judge([measure("retention_used", "0.6")], LIMITS, NOW)
    assert "`billing-etl backfill --source jp-1`" in alert.remedy
    for rule in RULES:
        (alert,) = judge([measure(rule.name, "999999")], LIMITS, NOW)
        assert "{" not in alert.what + alert.remedy


def test_alerts_come_in_the_order_of_the_rules_then_by_subject() -> None:
    values = [
        Measure(rule, subject, Decimal(99999), NOW, None)
        for rule in ("open_findings", "fact_lag")
        for subject in ("b", "a")
    ]
    found = [(alert.rule, alert.subject) for alert in judge(values, LIMITS, NOW)]
    assert found == [
        ("fact_lag", "a"), ("fact_lag", "b"), ("open_findings", "a"), ("open_findings", "b"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        ("59", "seconds", "0 min"),
        ("3599", "seconds", "59 min"),
        ("172799", "seconds", "47 h 59 min"),
        ("172800", "seconds", "2 d 0 h"),
        ("180000", "seconds", "2 d 2 h"),
        ("10", "count", "10"),
        ("0.5", "share", "50%"),
        ("0.01234", "share", "1.23%"),
    ],
)
def test_values_are_spoken(value: str, unit: str, text: str) -> None:
    assert spoken(Decimal(value), unit) == text  # type: ignore[arg-type]


def told(kind: NoticeKind, hours_ago: float, *, sent: bool = True) -> Told:
    return Told(kind, NOW - hours_ago * HOUR, sent)


@pytest.mark.parametrize(
    ("is_open", "last", "due"),
    [
        (True, None, "opened"),
        (True, told("opened", 23), None),
        (True, told("opened", 24), "reminder"),
        (True, told("reminder", 24), "reminder"),
        (True, told("opened", 99, sent=False), None),
        (False, told("opened", 1), "resolved"),
        (False, told("opened", 1, sent=False), "resolved"),
        (False, told("resolved", 99), None),
        (False, None, None),
    ],
    ids=[
        "opens", "told lately", "reminder", "each interval", "nothing joins what is unsent",
        "over", "over before it was sent", "over and told", "over before anyone was told",
    ],
)  # fmt: skip
def test_who_is_told(is_open: bool, last: Told | None, due: str | None) -> None:
    alert = KnownAlert(7, is_open, {} if last is None else {"on_call": last})
    expected = [] if due is None else [(7, due, "on_call")]
    assert due_notices([alert], ["on_call"], NOW, 24 * HOUR) == expected


def test_each_connection_is_told_for_itself() -> None:
    alert = KnownAlert(7, True, {"on_call": told("opened", 1)})
    assert due_notices([alert], ["on_call", "new"], NOW, 24 * HOUR) == [(7, "opened", "new")]
    assert due_notices([alert], [], NOW, 24 * HOUR) == []
