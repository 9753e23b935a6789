"""Dated prices (R2), published before and after the usage that they rate."""

from decimal import Decimal

from pipeline.harness import A, B, C, sample, snapshot

from scenarios.case import Case, assert_shows, seen, version

IN_THE_MIDDLE = [
    version("from 12:31", "0.00000000415", "12:31"),
    version("from 12:33", "0.000000000000001", "12:33"),
]
MIDDLE_SERVED = [
    seen("12:29:03", A=0),
    seen("12:30:03", A=1),
    seen("12:31:03", A=1_001),
    seen("12:32:03", A=1_001_001),
    seen("12:33:03", A=1_001_002),
    seen("12:34:03", A=1_001_001_002),
]
MIDDLE = """
    minute | rated      | price             | amount            | version
    12:30  | 1          | 0.0000000037      | 0.0000000037      | initial
    12:31  | 1000       | 0.00000000415     | 0.00000415        | from 12:31
    12:32  | 1000000    | 0.00000000415     | 0.00415           | from 12:31
    12:33  | 1          | 0.000000000000001 | 0.000000000000001 | from 12:33
    12:34  | 1000000000 | 0.000000000000001 | 0.000001          | from 12:33
"""


def test_r2_a_version_starts_in_the_middle_of_an_hour(case: Case) -> None:
    case.publish(versions=[version("initial", "0.0000000037"), *IN_THE_MIDDLE])
    case.line.settings["price_per_byte"] = Decimal("0.0000000037")
    case.serve(MIDDLE_SERVED)
    case.bill("12")

    assert_shows(case.minutes(), MIDDLE)
    assert_shows(
        case.ledger(),
        """
        hour  | type           | bytes      | amount            | reason
        12:00 | traffic_charge | 1001001002 | 0.004155153700001 | usage
        """,
    )
    case.assert_settled()


def test_r2_a_version_published_after_the_hour_was_rated_ends_in_the_same(case: Case) -> None:
    case.line.settings["price_per_byte"] = Decimal("0.0000000037")
    case.serve(MIDDLE_SERVED)
    case.bill("12")

    case.publish(versions=IN_THE_MIDDLE)

    assert_shows(case.minutes(), MIDDLE)
    assert_shows(
        case.ledger(),
        """
        hour  | type           | bytes      | amount             | reason
        12:00 | traffic_charge | 1001001002 | 3.7037037074       | usage
        12:00 | adjustment     | 0          | -3.699548553699999 | prices changed
        """,
    )
    case.assert_settled()


def test_r2_a_late_default_plan_or_account_price_touches_those_it_is_for(case: Case) -> None:
    """A has the default, B is in plan gold from 12:32 on, C has a price of its own from 12:30."""
    case.serve([seen(f"12:{29 + at}:03", A=10 * at, B=10 * at, C=10 * at) for at in range(4)])
    case.bill("12")

    case.publish(versions=[version("default", "0.3", "12:31")])
    case.publish(
        versions=[version("gold", "0.05", "12:00", scope="plan", scope_key="gold")],
        plan_members=[{"account_uuid": B, "plan": "gold", "from": "2026-04-08T12:32:00Z"}],
    )
    case.publish(versions=[version("own", "7.125", "12:30", scope="account", scope_key=C)])

    assert_shows(
        case.minutes(),
        """
        minute | account | bytes | price | amount | version
        12:30  | A       | 10    | 2     | 20     | initial
        12:30  | B       | 10    | 2     | 20     | initial
        12:30  | C       | 10    | 7.125 | 71.25  | own
        12:31  | A       | 10    | 0.3   | 3      | default
        12:31  | B       | 10    | 0.3   | 3      | default
        12:31  | C       | 10    | 7.125 | 71.25  | own
        12:32  | A       | 10    | 0.3   | 3      | default
        12:32  | B       | 10    | 0.05  | 0.5    | gold
        12:32  | C       | 10    | 7.125 | 71.25  | own
        """,
    )
    assert_shows(
        case.ledger(),
        """
        hour  | account | type           | bytes | amount | balance | reason
        12:00 | A       | traffic_charge | 30    | 60     | -60     | usage
        12:00 | B       | traffic_charge | 30    | 60     | -60     | usage
        12:00 | C       | traffic_charge | 30    | 60     | -60     | usage
        12:00 | A       | adjustment     | 0     | -34    | -26     | prices changed
        12:00 | B       | adjustment     | 0     | -34    | -26     | prices changed
        12:00 | C       | adjustment     | 0     | -34    | -26     | prices changed
        12:00 | B       | adjustment     | 0     | -2.5   | -23.5   | prices changed
        12:00 | C       | adjustment     | 0     | 187.75 | -213.75 | prices changed
        """,
    )
    case.assert_settled()


def test_r2_region_line_and_peak_multiply_each_at_its_minute(case: Case) -> None:
    """12:59Z is 21:59 in Tokyo, and peak; the source is in jp until 13:01, then in us."""
    clocks = ("12:58:03", "12:59:03", "13:00:03", "13:01:03")
    served = [
        snapshot(at, sample(A, total, 0, "tcp"), sample(A, total, 0, "xhttp"))
        for at, total in zip(clocks, range(0, 4000, 1000), strict=True)
    ]
    case.serve(served, region="us")
    case.bill("12", "13")

    peak = {
        "hours": [21],
        "time_zone": "Asia/Tokyo",
        "multiplier": "1.25",
        "offpeak_multiplier": "0.8",
    }
    case.publish(
        versions=[
            version(
                "multiplied",
                "0.0000037",
                "2026-04-01T00:00",
                region_multipliers={"jp": "1.5", "us": "0.75"},
                line_multipliers={"xhttp": "0.9"},
                peak=peak,
            )
        ],
        source_regions=[
            {"source_id": "jp-1", "region": "jp"},
            {"source_id": "jp-1", "region": "us", "from": "2026-04-08T13:01:00Z"},
        ],
    )

    assert_shows(
        case.minutes(),
        """
        minute | tag   | region | rated | price     | multiplier | amount
        12:59  | tcp   | jp     | 1000  | 0.0000037 | 1.875      | 0.0069375
        12:59  | xhttp | jp     | 1000  | 0.0000037 | 1.6875     | 0.00624375
        13:00  | tcp   | jp     | 1000  | 0.0000037 | 1.2        | 0.00444
        13:00  | xhttp | jp     | 1000  | 0.0000037 | 1.08       | 0.003996
        13:01  | tcp   | us     | 1000  | 0.0000037 | 0.6        | 0.00222
        13:01  | xhttp | us     | 1000  | 0.0000037 | 0.54       | 0.001998
        """,
    )
    assert_shows(
        case.ledger(),
        """
        hour  | type           | bytes | amount         | balance        | reason
        12:00 | traffic_charge | 2000  | 4000           | -4000          | usage
        13:00 | traffic_charge | 4000  | 8000           | -12000         | usage
        12:00 | adjustment     | 0     | -3999.98681875 | -8000.01318125 | prices changed
        13:00 | adjustment     | 0     | -7999.987346   | -0.02583525    | prices changed
        """,
    )
    case.assert_settled()


def test_r2_peak_hours_follow_the_clocks_of_their_zone(case: Case) -> None:
    """Peak is from 2 to 4 in Berlin: 2 is skipped in March, and comes twice in October."""
    hours = [f"2026-03-29T0{hour}" for hour in range(3)] + [
        f"2026-10-25T0{hour}" for hour in range(4)
    ]
    served = [seen("2026-03-29T00:29:03Z", A=0), seen("2026-10-25T00:29:03Z", A=30)]
    served += [seen(f"{hour}:30:03Z", A=10 * at) for at, hour in enumerate(hours, start=1)]
    case.serve(served)
    case.bill(*hours)

    peak = {"hours": [2, 3], "time_zone": "Europe/Berlin", "multiplier": "1.5"}
    case.publish(versions=[version("peak", "2", "2026-03-01T00:00", peak=peak)])

    assert_shows(
        case.minutes(),
        """
        minute           | rated | multiplier | amount
        2026-03-29T00:30 | 10    | 1          | 20
        2026-03-29T01:30 | 10    | 1.5        | 30
        2026-03-29T02:30 | 10    | 1          | 20
        2026-10-25T00:30 | 10    | 1.5        | 30
        2026-10-25T01:30 | 10    | 1.5        | 30
        2026-10-25T02:30 | 10    | 1.5        | 30
        2026-10-25T03:30 | 10    | 1          | 20
        """,
    )
    assert_shows(
        case.ledger()[len(hours) :],
        """
        hour             | type       | bytes | amount | reason
        2026-03-29T01:00 | adjustment | 0     | 10     | prices changed
        2026-10-25T00:00 | adjustment | 0     | 10     | prices changed
        2026-10-25T01:00 | adjustment | 0     | 10     | prices changed
        2026-10-25T02:00 | adjustment | 0     | 10     | prices changed
        """,
    )
    case.assert_billed_as_audited()
    case.assert_replay_changes_nothing()
