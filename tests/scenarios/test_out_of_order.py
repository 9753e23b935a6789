"""Hours in any order: a node's second hour before its first, a day backwards, the same end."""

from collections.abc import Sequence

import pytest
from pipeline.harness import JSON, Line, Row, hour_of, states

from billing_etl.store.migrations import migrate
from scenarios.case import Case, assert_shows, seen

# First seen at 12:56 with 1000 bytes on its counter; a restart at 13:30; A is away in hour 14.
NODE = [
    seen("12:56:03", A=1000, B=50),
    seen("12:57:03", A=1040, B=50),
    seen("12:58:03", A=1060, B=50),
    seen("13:00:03", A=1090, B=57),
    seen("13:30:03", A=25, B=3),
    seen("14:10:03", B=13),
    seen("15:00:03", A=75, B=13),
]
HOURS = ("12", "13", "14", "15")


@pytest.fixture
def in_order(case: Case, empty_database_url: str) -> Case:
    """A second database whose hours are collected and rated in order."""
    migrate(empty_database_url)
    line = case.line
    return Case(Line(empty_database_url, line.directory, line.stack, line.settings, line.sources))


def state(case: Case) -> dict[str, list[str]]:
    """All but generated keys: they, and the order of rows by them, tell the order of runs."""
    return {name: sorted(map(repr, rows)) for name, rows in states(case.line).items()}


def run(case: Case, served: Sequence[JSON], hours: Sequence[str]) -> None:
    case.serve(served)
    for hour in hours:
        case.bill(hour)


@pytest.mark.parametrize(
    "order", [("13", "12", "14", "15"), ("15", "14", "13", "12"), ("14", "12", "15", "13")], ids=str
)
def test_any_order_of_hours_ends_in_the_state_of_the_right_order(
    order: tuple[str, ...], case: Case, in_order: Case
) -> None:
    """100 bytes are included: the hour that comes first in time has them, not the first run."""
    case.line.settings["initial_included_quota_bytes"] = 100
    run(in_order, NODE, HOURS)

    run(case, NODE, order)

    assert state(case) == state(in_order)
    assert_shows(
        case.minutes(),
        """
        minute | account | bytes | span | reset | included | rated | amount
        12:57  | A       | 40    | 1    | -     | 40       | 0     | 0
        12:58  | A       | 20    | 1    | -     | 20       | 0     | 0
        13:00  | A       | 30    | 2    | -     | 30       | 0     | 0
        13:00  | B       | 7     | 2    | -     | 7        | 0     | 0
        13:30  | A       | 25    | 30   | yes   | 10       | 15    | 30
        13:30  | B       | 3     | 30   | yes   | 3        | 0     | 0
        14:10  | B       | 10    | 40   | -     | 10       | 0     | 0
        15:00  | A       | 50    | 90   | -     | 0        | 50    | 100
        """,
    )
    case.assert_settled()


def closings_of_hour_12(case: Case) -> list[Row]:
    """First instant, and whether it is only kept from looking back."""
    return case.line.rows(
        "select to_char(billing_core.instant(first_ns) at time zone 'UTC', 'HH24:MI:SS'),"
        " provisional from billing_core.closings where hour = %s",
        hour_of("12").index,
    )


def test_the_second_hour_first_is_measured_by_look_back_until_the_first_is_collected(
    case: Case,
) -> None:
    case.line.settings["initial_included_quota_bytes"] = 20
    case.serve(NODE, lookback_minutes=2)
    case.bill("13")
    assert_shows(
        case.minutes(),
        """
        minute | account | bytes | span | included | rated | amount
        13:00  | A       | 30    | 2    | 20       | 10    | 20
        13:00  | B       | 7     | 2    | 7        | 0     | 0
        13:30  | A       | 25    | 30   | 0        | 25    | 50
        13:30  | B       | 3     | 30   | 3        | 0     | 0
        """,
    )
    assert closings_of_hour_12(case) == [("12:58:03", True), ("12:58:03", True)]

    case.bill("12")

    assert closings_of_hour_12(case) == [("12:56:03", False), ("12:56:03", False)]
    assert_shows(
        case.minutes(),
        """
        minute | account | bytes | span | included | rated | amount
        12:57  | A       | 40    | 1    | 20       | 20    | 40
        12:58  | A       | 20    | 1    | 0        | 20    | 40
        13:00  | A       | 30    | 2    | 0        | 30    | 60
        13:00  | B       | 7     | 2    | 7        | 0     | 0
        13:30  | A       | 25    | 30   | 0        | 25    | 50
        13:30  | B       | 3     | 30   | 3        | 0     | 0
        """,
    )
    assert_shows(
        case.ledger(),
        """
        hour  | account | type           | bytes | amount | reason
        13:00 | A       | traffic_charge | 35    | 70     | usage
        13:00 | B       | traffic_charge | 0     | 0      | usage
        12:00 | A       | traffic_charge | 40    | 80     | usage
        13:00 | A       | adjustment     | 20    | 40     | usage changed
        """,
    )
    case.assert_settled()


def test_the_third_hour_first_knows_of_no_presence_before(case: Case) -> None:
    """B at 14:10 is a baseline; known of hour 13, it is a delta; A leans on what is known."""
    served = [each for each in NODE if each["collected_at"] < "2026-04-08T15"]
    case.serve(served)
    case.bill("14")
    assert_shows(case.minutes(), "minute | account | bytes")

    case.bill("13")

    assert_shows(
        case.minutes(),
        """
        minute | account | bytes | span | amount
        13:00  | A       | 30    | 2    | 60
        13:00  | B       | 7     | 2    | 14
        13:30  | A       | 25    | 30   | 50
        13:30  | B       | 3     | 30   | 6
        14:10  | B       | 10    | 40   | 20
        """,
    )
    case.assert_settled()


def test_a_day_backwards(case: Case) -> None:
    """One snapshot per hour, 50 bytes more each, a restart before 07:30; rated four times.

    600 bytes are included: those up to 12:30, whatever was rated first.
    """
    case.line.settings["initial_included_quota_bytes"] = 600
    totals = [*range(1000, 1350, 50), *range(50, 900, 50)]
    served = [seen(f"{hour:02}:30:03", A=total) for hour, total in enumerate(totals)]
    case.serve(served)

    for end in (24, 18, 12, 6):
        case.bill(*(f"{hour:02}" for hour in range(end - 1, end - 7, -1)))

    expected = [
        [f"{hour:02}:30", "50", "60", "yes" if hour == 7 else "-"]
        + (["50", "0", "0"] if hour <= 12 else ["0", "50", "100"])
        for hour in range(1, 24)
    ]
    names = ("minute", "bytes", "span", "reset", "included", "rated", "amount")
    assert [[minute[name] for name in names] for minute in case.minutes()] == expected
    case.assert_as_audited()
