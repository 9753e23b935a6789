"""Money of late data: forward re-rating (R4), the ledger's entries (R5) and balances (R6)."""

from decimal import Decimal

from pipeline.harness import JSON, A, B, Row, hour_of

from scenarios.case import Case, assert_shows, seen

# What carries an account's money; B's must not be written when only A's usage changes.
MONEY_OF = {
    "facts": "join billing_core.series using (series_id)",
    "account_hours": "",
    "ledger_entries": "",
    "account_balances": "",
}


def money_rows(case: Case, account: str) -> dict[str, list[Row]]:
    """Every row of an account's money with its ``xmin``."""
    return {
        table: case.line.rows(
            f"select t.xmin::text, t.* from billing_core.{table} t {join}"
            " join billing_core.accounts using (account_key) where account_uuid = %s order by t",
            account,
        )
        for table, join in MONEY_OF.items()
    }


def test_r4_a_late_hour_takes_the_quota_away_from_the_hours_after_it(case: Case) -> None:
    case.line.settings["initial_included_quota_bytes"] = 100
    case.serve(
        [
            seen("10:29:03", A=0),
            seen("10:30:03", A=50),
            seen("10:58:03", A=50, B=0),
            seen("11:30:03", A=90, B=30),
            seen("12:30:03", A=130, B=60),
            seen("13:30:03", A=170, B=95),
        ]
    )
    case.bill("11", "12", "13")
    assert_shows(
        case.minutes(),
        """
        minute | account | bytes | included | rated | amount
        11:30  | A       | 40    | 40       | 0     | 0
        11:30  | B       | 30    | 30       | 0     | 0
        12:30  | A       | 40    | 40       | 0     | 0
        12:30  | B       | 30    | 30       | 0     | 0
        13:30  | A       | 40    | 20       | 20    | 40
        13:30  | B       | 35    | 35       | 0     | 0
        """,
    )
    of_b = money_rows(case, B)
    assert all(of_b.values())

    case.bill("10")

    assert_shows(
        [minute for minute in case.minutes() if minute["account"] == "A"],
        """
        minute | bytes | included | rated | amount
        10:30  | 50    | 50       | 0     | 0
        11:30  | 40    | 40       | 0     | 0
        12:30  | 40    | 10       | 30    | 60
        13:30  | 40    | 0        | 40    | 80
        """,
    )
    assert_shows(
        [entry for entry in case.ledger() if entry["account"] == "A"],
        """
        hour  | type           | bytes | amount | balance | reason
        11:00 | traffic_charge | 0     | 0      | 0       | usage
        12:00 | traffic_charge | 0     | 0      | 0       | usage
        13:00 | traffic_charge | 20    | 40     | -40     | usage
        10:00 | traffic_charge | 0     | 0      | -40     | usage
        12:00 | adjustment     | 30    | 60     | -100    | usage changed
        13:00 | adjustment     | 20    | 40     | -140    | usage changed
        """,
    )
    assert money_rows(case, B) == of_b
    case.assert_settled()


def test_r4_a_late_hour_at_the_end_of_a_month_leaves_the_next_month_alone(case: Case) -> None:
    """Each month includes 100 bytes of its own."""
    case.line.settings["initial_included_quota_bytes"] = 100
    hours = ("2026-04-30T22", "2026-04-30T23", "2026-05-01T00")
    case.serve(
        [
            seen(f"{hours[0]}:29:03Z", A=0),
            seen(f"{hours[0]}:30:03Z", A=80),
            seen(f"{hours[0]}:58:03Z", A=80),
            seen(f"{hours[1]}:30:03Z", A=160),
            seen(f"{hours[2]}:30:03Z", A=280),
        ]
    )
    case.bill(*hours[1:])
    may = hour_of(hours[2]).index
    queries = [
        f"select xmin::text, t.* from billing_core.{table} t where {hour} = {may}"
        for table, hour in (
            ("facts", "minute / 60"),
            ("account_hours", "hour"),
            ("ledger_entries", "hour"),
        )
    ]
    before = [case.line.rows(query) for query in queries]
    assert [len(rows) for rows in before] == [1, 1, 1]

    case.bill(hours[0])

    assert [case.line.rows(query) for query in queries] == before
    assert_shows(
        case.minutes(),
        """
        minute           | bytes | included | rated | amount
        2026-04-30T22:30 | 80    | 80       | 0     | 0
        2026-04-30T23:30 | 80    | 20       | 60    | 120
        2026-05-01T00:30 | 120   | 100      | 20    | 40
        """,
    )
    assert_shows(
        case.ledger(),
        """
        hour             | period     | type           | bytes | amount | reason
        2026-04-30T23:00 | 2026-04-01 | traffic_charge | 0     | 0      | usage
        2026-05-01T00:00 | 2026-05-01 | traffic_charge | 20    | 40     | usage
        2026-04-30T22:00 | 2026-04-01 | traffic_charge | 0     | 0      | usage
        2026-04-30T23:00 | 2026-04-01 | adjustment     | 60    | 120    | usage changed
        """,
    )
    case.assert_settled()


def hour_12(total: int) -> list[JSON]:
    return [seen("12:58:03", A=0), seen("12:59:03", A=total), seen("13:00:03", A=total)]


def test_r5_a_zero_charge_then_adjustments_up_to_zero_and_back(case: Case) -> None:
    """100 bytes are included; every step serves other values for the same instants."""
    case.line.settings["initial_included_quota_bytes"] = 100

    for total in (100, 150, 100, 150, 150, 0):
        case.serve(hour_12(total))
        case.bill("12")

    assert_shows(case.minutes(), "minute | bytes")
    assert_shows(
        case.ledger(),
        """
        hour  | type           | bytes | amount | balance | reason
        12:00 | traffic_charge | 0     | 0      | 0       | usage
        12:00 | adjustment     | 50    | 100    | -100    | usage changed
        12:00 | adjustment     | -50   | -100   | 0       | usage changed
        12:00 | adjustment     | 50    | 100    | -100    | usage changed
        12:00 | adjustment     | -50   | -100   | 0       | usage changed
        """,
    )
    runs = case.line.rows(
        "select run_id, command from billing_core.ledger_entries"
        " join billing_core.runs using (run_id) order by entry_id"
    )
    assert [command for _, command in runs] == ["rate"] * 5
    assert len({run_id for run_id, _ in runs}) == 5
    case.assert_settled()


def test_r6_balance_arrears_and_throttle_follow_every_entry(case: Case) -> None:
    """Opened with 100; a byte costs 2, until prices change."""
    case.line.settings["initial_balance"] = Decimal(100)

    def served(at_the_edge: int) -> list[JSON]:
        return [seen("11:59:03", A=0), seen("12:30:03", A=at_the_edge), seen("13:30:03", A=70)]

    def shows(row: str) -> None:
        assert_shows(case.accounts(), "balance | arrears | since | throttle | suspend\n" + row)

    case.serve(served(40))
    case.bill("12")
    shows("20 | 0 | - | normal | active")
    case.bill("13")
    shows("-40 | 40 | 13:00 | throttled | active")
    case.credit(A, "24.99")
    shows("-15.01 | 15.01 | 13:00 | throttled | active")
    case.serve(served(30))  # ten bytes belong to hour 13
    case.bill("12")
    shows("-15.01 | 15.01 | 13:00 | throttled | active")
    cheap = {"price_version": "cheap", "from": "2026-04-08T13:00:00Z", "price_per_byte": "1"}
    case.publish(versions=[cheap])
    shows("24.99 | 0 | - | normal | active")
    dear = {"price_version": "dear", "from": "2026-04-08T12:00:00Z", "price_per_byte": "3"}
    case.publish(versions=[dear])
    shows("-5.01 | 5.01 | 12:00 | throttled | active")
    case.credit(A, "5.01")
    shows("0 | 0 | - | normal | active")

    assert_shows(
        case.ledger(),
        """
        hour  | type           | bytes | amount | balance | reason
        12:00 | traffic_charge | 40    | 80     | 20      | usage
        13:00 | traffic_charge | 30    | 60     | -40     | usage
        -     | credit         | 0     | 24.99  | -15.01  | paid in
        12:00 | adjustment     | -10   | -20    | 4.99    | usage changed
        13:00 | adjustment     | 10    | 20     | -15.01  | usage changed
        13:00 | adjustment     | 0     | -40    | 24.99   | prices changed
        12:00 | adjustment     | 0     | 30     | -5.01   | prices changed
        -     | credit         | 0     | 5.01   | 0       | paid in
        """,
    )
    case.assert_settled()
