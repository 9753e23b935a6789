"""R4: an hour is rated in the write that stores it where that is final; `rate` does the rest.

Whichever did it, facts, net of the ledger and balances are the oracle's.
"""

from collections.abc import Callable

import psycopg
import pytest
from pipeline.harness import A, B, net, row_versions

from billing_etl.pipeline import rate_fresh
from billing_etl.store import ratings
from scenarios.case import Case, assert_shows, seen, version

RATING = "select pg_advisory_xact_lock(hashtext('billing_etl rating'))"

# Account A alone; 11:59 is a baseline. The hour ends within its last interval: it is complete.
ELEVEN = [seen("11:58:03", A=0), seen("11:59:03", A=10)]
TWELVE = [seen("12:00:03", A=30), seen("12:30:03", A=70), seen("12:59:03", A=100)]
THIRTEEN = [seen("13:10:03", A=150), seen("13:59:03", A=180)]


def rated(case: Case) -> dict[str, bool]:
    """Per hour, whether everything in it is rated and nothing waits for `rate`."""
    return {
        f"{hour:%H}": not is_stale
        for hour, is_stale in case.line.rows(
            "select date_trunc('hour', minute, 'UTC'), bool_or(is_stale) from billing.usage_minutes"
            " group by 1 order by 1"
        )
    }


def begun(case: Case, quota: int = 0) -> Case:
    """The hour of the first sight is billed, so that the environment's price is taken."""
    case.line.settings["initial_included_quota_bytes"] = quota
    case.serve(ELEVEN + TWELVE + THIRTEEN)
    case.bill("11")
    return case


def test_an_hour_in_order_needs_no_rating_run(case: Case) -> None:
    begun(case)

    (result,) = case.collect("12").results

    assert result.account_hours_rated == 1
    assert rated(case) == {"11": True, "12": True}
    assert_shows(
        case.ledger(),
        """
        hour  | type           | bytes | amount | reason
        11:00 | traffic_charge | 10    | 20     | usage
        12:00 | traffic_charge | 90    | 180    | usage
        """,
    )
    case.assert_as_audited()


def test_rating_after_it_writes_nothing(case: Case) -> None:
    begun(case).collect("12")
    before = row_versions(case.line, "runs", "sources")

    case.rate()

    assert row_versions(case.line, "runs", "sources") == before
    case.assert_settled()


@pytest.mark.parametrize("quota", [5, 10, 35, 60, 100, 101, 1000])
def test_the_quota_may_end_anywhere(case: Case, quota: int) -> None:
    begun(case, quota).collect("12", "13")

    assert rated(case) == {"11": True, "12": True, "13": True}
    case.assert_settled()


def test_the_quota_is_consumed_in_order_of_minute_node_and_inbound(case: Case) -> None:
    case.line.settings["initial_included_quota_bytes"] = 25
    case.serve(
        [
            seen(at, node=node, A=total)
            for at, total in (("11:59:03", 0), ("12:01:03", 10), ("12:02:03", 20), ("12:59:03", 30))
            for node in ("node-2", "node-10")
        ]
    )
    case.bill("11")

    (result,) = case.collect("12").results

    assert result.account_hours_rated == 1
    included = [
        (f"{minute:%H:%M}", node_id, included)
        for minute, node_id, included in case.line.rows(
            "select minute, node_id, included_bytes from billing.usage_minutes"
            ' order by minute, node_id collate "C"'
        )
    ]
    assert included == [
        ("12:01", "node-10", 10),
        ("12:01", "node-2", 10),
        ("12:02", "node-10", 5),
        ("12:02", "node-2", 0),
        ("12:59", "node-10", 0),
        ("12:59", "node-2", 0),
    ]
    case.assert_settled()


def test_prices_that_change_within_the_hour(case: Case) -> None:
    begun(case)
    case.publish(versions=[version("noon", "3", "12:30"), version("late", "5", "12:31")])

    case.collect("12")

    assert_shows(
        case.minutes(),
        """
        minute | bytes | price | amount | version
        11:59  | 10    | 2     | 20     | initial
        12:00  | 20    | 2     | 40     | initial
        12:30  | 40    | 3     | 120    | noon
        12:59  | 30    | 5     | 150    | late
        """,
    )
    assert rated(case)["12"]
    case.assert_settled()


def test_accounts_with_prices_of_their_own(case: Case) -> None:
    case.serve(
        [seen("11:59:03", A=0, B=0), seen("12:30:03", A=10, B=10), seen("12:59:03", A=20, B=20)]
    )
    case.bill("11")
    case.publish(
        versions=[
            version("own", "7", scope="account", scope_key=A),
            version("gold", "4", scope="plan", scope_key="gold"),
        ],
        plan_members=[
            {"account_uuid": B, "plan": "gold", "from": "2026-04-08T12:45:00Z"},
        ],
    )

    (result,) = case.collect("12").results

    assert result.account_hours_rated == 2
    case.assert_settled()


# --- what is left to `rate` --------------------------------------------------------------------


def published_meanwhile(case: Case) -> None:
    case.publish(versions=[version("sudden", "9", "12:00")])


def collected_elsewhere_meanwhile(case: Case) -> None:
    """Another source serves the account for the first time."""
    case.serve([seen("12:58:03", "node-9", A=0), seen("12:59:03", "node-9", A=7)], "us-1")
    case.collect("12", source_id="us-1")


@pytest.mark.parametrize("happens", [published_meanwhile, collected_elsewhere_meanwhile])
def test_what_changes_while_the_hour_is_written(
    case: Case, happens: Callable[[Case], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Facts are rated already when it happens; their account-hour stays stale."""
    begun(case)
    confirm = rate_fresh.FreshRating.confirm
    happened: list[str] = []

    def later(rating: rate_fresh.FreshRating, *, may_wait: bool) -> None:
        if not happened:
            happened.append("once")
            happens(case)
        confirm(rating, may_wait=may_wait)

    monkeypatch.setattr(rate_fresh.FreshRating, "confirm", later)

    results = case.collect("12", source_id="jp-1").results

    assert [result.account_hours_rated for result in results] == [0]
    assert not rated(case)["12"]
    case.rate()
    case.assert_as_audited()


def test_a_run_that_rates_for_long_holds_up_no_collection(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ratings, "SHORT_RATING_WAIT", "50ms")
    begun(case)
    with psycopg.connect(case.line.database_url) as rater:
        rater.execute(RATING)
        (result,) = case.collect("12").results

    assert (result.outcome, result.account_hours_rated) == ("collected", 0)
    assert not rated(case)["12"]
    case.rate()
    case.assert_settled()


def test_a_run_that_made_accounts_does_not_wait_for_the_one_that_rates(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be these accounts that the other run waits for: neither would ever go on."""
    monkeypatch.setattr(ratings, "SHORT_RATING_WAIT", "1h")
    begun(case)
    case.serve(ELEVEN + TWELVE + [seen("12:59:33", A=100, B=5)])
    with psycopg.connect(case.line.database_url) as rater:
        rater.execute(RATING)
        (result,) = case.collect("12").results

    assert (result.outcome, result.account_hours_rated) == ("collected", 0)
    case.rate()
    case.assert_settled()


def test_a_running_hour_is_rated_when_it_is_over(case: Case) -> None:
    """Its charge would need an adjustment with every further collection."""
    begun(case)
    case.serve(ELEVEN + TWELVE[:2])
    (result,) = case.collect("12").results

    assert (result.state, result.account_hours_rated) == ("partial", 0)
    case.serve(ELEVEN + TWELVE)
    case.bill("12")
    case.assert_settled()
    assert [entry["type"] for entry in case.ledger()] == ["traffic_charge"] * 2


def test_an_hour_before_one_that_is_known(case: Case) -> None:
    begun(case, quota=60)
    case.collect("13")

    (result,) = case.collect("12").results

    assert result.account_hours_rated == 0
    case.rate()
    case.assert_settled()


def test_an_hour_after_one_that_waits(case: Case) -> None:
    """Its usage is known, and yet not final: late data made it wait."""
    begun(case).collect("12")
    case.serve(ELEVEN + TWELVE + [seen("12:59:33", A=120)] + THIRTEEN)
    case.collect("12")

    (result,) = case.collect("13").results

    assert result.account_hours_rated == 0
    case.rate()
    case.assert_settled()


def test_an_account_of_two_sources(case: Case) -> None:
    """One charge for its hour, and not a charge and an adjustment."""
    begun(case)
    case.serve([seen("11:59:13", "node-9", A=5), seen("12:59:13", "node-9", A=6)], "us-1")
    case.bill("11")

    results = case.collect("12").results

    assert [result.account_hours_rated for result in results] == [0, 0]
    case.rate()
    assert [e["type"] for e in case.ledger() if e["hour"] == "12:00"] == ["traffic_charge"]
    case.assert_settled()


def test_without_a_price_nothing_is_rated(case: Case) -> None:
    case.serve(ELEVEN + TWELVE)

    results = case.collect("11", "12").results

    assert [result.account_hours_rated for result in results] == [0, 0]
    assert net(case.line) == {}
    case.rate()
    case.assert_settled()


def test_an_environment_that_contradicts_the_prices_rates_nothing(case: Case) -> None:
    """`rate` says so; collecting goes on."""
    begun(case)
    price = case.line.settings["price_per_byte"]
    case.line.settings["price_per_byte"] = price + 1

    (result,) = case.collect("12").results

    assert (result.outcome, result.account_hours_rated) == ("collected", 0)
    case.line.settings["price_per_byte"] = price
    case.rate()
    case.assert_settled()


def test_a_new_period_begins_with_no_usage(case: Case) -> None:
    case.line.settings["initial_included_quota_bytes"] = 50
    clocks = ("2026-04-30T22:59:03Z", "2026-04-30T23:59:03Z", "2026-05-01T00:59:03Z")
    case.serve([seen(at, A=total) for at, total in zip(clocks, (0, 40, 90), strict=True)])
    case.bill("2026-04-30T22")

    results = case.collect("2026-04-30T23", "2026-05-01T00").results

    assert [result.account_hours_rated for result in results] == [1, 1]
    assert_shows(
        case.minutes(),
        """
        bytes | included | rated
        40    | 40       | 0
        50    | 50       | 0
        """,
    )
    case.assert_settled()
