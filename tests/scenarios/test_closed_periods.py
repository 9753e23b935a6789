"""Closed periods (R7): what belongs to them posts in the open one, and names where it belongs."""

import pytest
from pipeline.harness import HISTORY, JSON, row_versions

from billing_etl.errors import UsageError
from scenarios.case import Case, assert_shows, seen

HOURS = ("2026-03-31T23", "2026-04-30T22", "2026-04-30T23", "2026-05-01T00")
IN_MARCH = "belongs to the closed period of 2026-03-01"
IN_APRIL = "belongs to the closed period of 2026-04-01"


def served(march: int = 90, april: int = 170, *late: JSON) -> list[JSON]:
    """90 bytes in March, 80 in each of two hours of April, 30 in May; or other totals."""
    return [
        seen("2026-03-31T23:29:03Z", A=0),
        seen("2026-03-31T23:30:03Z", A=march),
        seen("2026-04-30T22:30:03Z", A=april),
        seen("2026-04-30T23:30:03Z", A=250),
        seen("2026-05-01T00:30:03Z", A=280),
        *late,
    ]


def test_r7_late_data_of_a_closed_period_posts_in_the_open_one(case: Case) -> None:
    """100 bytes are included per month, in a closed one too: hour 22 takes them from hour 23."""
    case.line.settings["initial_included_quota_bytes"] = 100
    case.serve(served())
    case.bill(*HOURS)
    case.close("2026-04")

    late = seen("2026-04-30T22:59:03Z", A=180), seen("2026-04-30T23:59:03Z", A=270)
    case.serve(served(90, 170, *late))
    case.bill("2026-04-30T22", "2026-04-30T23")

    assert_shows(
        case.minutes(),
        """
        minute           | bytes | included | rated | amount
        2026-03-31T23:30 | 90    | 90       | 0     | 0
        2026-04-30T22:30 | 80    | 80       | 0     | 0
        2026-04-30T22:59 | 10    | 10       | 0     | 0
        2026-04-30T23:30 | 70    | 10       | 60    | 120
        2026-04-30T23:59 | 20    | 0        | 20    | 40
        2026-05-01T00:30 | 10    | 10       | 0     | 0
        """,
    )
    assert_shows(
        case.ledger(),
        f"""
        hour             | period     | type           | bytes | amount | reason
        2026-03-31T23:00 | 2026-03-01 | traffic_charge | 0     | 0      | usage
        2026-04-30T22:00 | 2026-04-01 | traffic_charge | 0     | 0      | usage
        2026-04-30T23:00 | 2026-04-01 | traffic_charge | 60    | 120    | usage
        2026-05-01T00:00 | 2026-05-01 | traffic_charge | 0     | 0      | usage
        2026-04-30T23:00 | 2026-05-01 | adjustment     | 20    | 40     | usage changed, {IN_APRIL}
        """,
    )
    case.assert_settled()


def test_r7_of_several_closed_periods_each_difference_posts_in_the_first_open_one(
    case: Case,
) -> None:
    case.serve(served())
    case.bill(*HOURS)
    case.close("2026-03")
    case.close("2026-04")
    case.serve(served(march=60))
    case.bill("2026-03-31T23")
    case.close("2026-05")
    case.serve(served(march=100))
    case.bill("2026-03-31T23")

    assert_shows(
        case.ledger(),
        f"""
        hour             | period     | type           | bytes | amount | reason
        2026-03-31T23:00 | 2026-03-01 | traffic_charge | 90    | 180    | usage
        2026-04-30T22:00 | 2026-04-01 | traffic_charge | 80    | 160    | usage
        2026-04-30T23:00 | 2026-04-01 | traffic_charge | 80    | 160    | usage
        2026-05-01T00:00 | 2026-05-01 | traffic_charge | 30    | 60     | usage
        2026-03-31T23:00 | 2026-05-01 | adjustment     | -30   | -60    | usage changed, {IN_MARCH}
        2026-04-30T22:00 | 2026-05-01 | adjustment     | 30    | 60     | usage changed, {IN_APRIL}
        2026-03-31T23:00 | 2026-06-01 | adjustment     | 40    | 80     | usage changed, {IN_MARCH}
        2026-04-30T22:00 | 2026-06-01 | adjustment     | -40   | -80    | usage changed, {IN_APRIL}
        """,
    )
    posted = case.line.rows(
        "select to_char(period_start at time zone 'UTC', 'YYYY-MM'), amount::int"
        " from billing.account_months order by 1"
    )
    assert posted == [("2026-03", 180), ("2026-04", 320), ("2026-05", 60), ("2026-06", 0)]
    case.assert_settled()


def test_r7_a_period_is_closed_once(case: Case) -> None:
    case.serve(served())
    case.bill(*HOURS)
    case.close("2026-04")
    before = row_versions(case.line, *HISTORY)

    with pytest.raises(UsageError, match="2026-04 is closed already"):
        case.close("2026-04")

    assert row_versions(case.line, *HISTORY) == before


def test_r7_a_fact_of_a_closed_period_goes_to_zero_and_comes_back(case: Case) -> None:
    case.serve(served())
    case.bill(*HOURS)
    case.close("2026-04")

    case.serve(served(april=90))
    case.bill("2026-04-30T22")
    assert_shows(
        case.minutes(),
        """
        minute           | bytes | span  | rated | amount
        2026-03-31T23:30 | 90    | 1     | 90    | 180
        2026-04-30T23:30 | 160   | 60    | 160   | 320
        2026-05-01T00:30 | 30    | 60    | 30    | 60
        """,
    )
    case.serve(served())
    case.bill("2026-04-30T22")

    assert_shows(
        case.ledger()[4:],
        f"""
        hour             | period     | type       | bytes | amount | balance | reason
        2026-04-30T22:00 | 2026-05-01 | adjustment | -80   | -160   | -400    | usage changed, {IN_APRIL}
        2026-04-30T23:00 | 2026-05-01 | adjustment | 80    | 160    | -560    | usage changed, {IN_APRIL}
        2026-04-30T22:00 | 2026-05-01 | adjustment | 80    | 160    | -720    | usage changed, {IN_APRIL}
        2026-04-30T23:00 | 2026-05-01 | adjustment | -80   | -160   | -560    | usage changed, {IN_APRIL}
        """,  # noqa: E501
    )
    case.assert_settled()


@pytest.mark.parametrize(
    ("quota", "entries"),
    [
        pytest.param(
            100,
            f"""
            hour             | period     | type       | bytes | amount | reason
            2026-04-30T22:00 | 2026-05-01 | adjustment | 0     | 0      | usage, {IN_APRIL}
            """,
            id="included: an entry of zero",
        ),
        pytest.param(
            0,
            f"""
            hour             | period     | type       | bytes | amount | reason
            2026-04-30T22:00 | 2026-05-01 | adjustment | 80    | 160    | usage, {IN_APRIL}
            2026-04-30T23:00 | 2026-05-01 | adjustment | -80   | -160   | usage changed, {IN_APRIL}
            """,
            id="rated",
        ),
    ],
)
def test_r7_the_first_entry_of_an_hour_in_a_closed_period_is_an_adjustment(
    quota: int, entries: str, case: Case
) -> None:
    """Hour 22 is collected after the closing; its 80 bytes were measured in hour 23 till then."""
    case.line.settings["initial_included_quota_bytes"] = quota
    case.serve(served())
    case.bill(HOURS[0], *HOURS[2:])
    case.close("2026-04")
    before = len(case.ledger())

    case.bill(HOURS[1])

    assert_shows(case.ledger()[before:], entries)
    case.assert_settled()


def test_r7_a_price_published_into_a_closed_period_posts_in_the_open_one(case: Case) -> None:
    case.serve(served())
    case.bill(*HOURS)
    case.close("2026-04")

    april = {"price_version": "april", "from": "2026-04-01T00:00:00Z", "price_per_byte": "2.5"}
    case.publish(versions=[april])

    assert_shows(
        case.ledger()[4:],
        f"""
        hour             | period     | type       | bytes | amount | reason
        2026-04-30T22:00 | 2026-05-01 | adjustment | 0     | 40     | prices changed, {IN_APRIL}
        2026-04-30T23:00 | 2026-05-01 | adjustment | 0     | 40     | prices changed, {IN_APRIL}
        2026-05-01T00:00 | 2026-05-01 | adjustment | 0     | 15     | prices changed
        """,
    )
    case.assert_settled()
