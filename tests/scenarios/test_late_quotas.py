"""The included quota (R3) over periods and within a minute, whatever is rated first."""

import pytest
from pipeline.harness import A, sample, snapshot

from scenarios.case import Case, assert_shows, rows_of, seen, version


def test_r3_a_quota_that_changes_in_mid_period_counts_from_the_next_one(case: Case) -> None:
    case.line.settings["initial_included_quota_bytes"] = 100
    case.serve(
        [
            seen("2026-04-14T12:29:03Z", A=0),
            seen("2026-04-14T12:30:03Z", A=60),
            seen("2026-04-30T23:59:03Z", A=120),
            seen("2026-05-01T00:00:03Z", A=180),
        ]
    )
    case.bill("2026-04-14T12", "2026-04-30T23", "2026-05-01T00")
    before = """
        minute           | bytes | included | rated | amount
        2026-04-14T12:30 | 60    | 60       | 0     | 0
        2026-04-30T23:59 | 60    | 40       | 20    | 40
    """
    assert_shows(case.minutes(), before + "2026-05-01T00:00 | 60 | 60 | 0 | 0")

    mid = version("mid April", "2", "2026-04-15T00:00", included_quota_bytes=30)
    case.publish(versions=[mid])
    assert_shows(case.minutes(), before + "2026-05-01T00:00 | 60 | 30 | 30 | 60")

    may = version("May", "2", "2026-05-01T00:00", included_quota_bytes=50)
    case.publish(versions=[may])
    assert_shows(case.minutes(), before + "2026-05-01T00:00 | 60 | 50 | 10 | 20")

    own = {"scope": "account", "scope_key": A, "included_quota_bytes": 10}
    case.publish(versions=[version("own", "2", "2026-04-01T00:00", **own)])
    assert_shows(
        case.minutes(),
        """
        minute           | bytes | included | rated | amount
        2026-04-14T12:30 | 60    | 10       | 50    | 100
        2026-04-30T23:59 | 60    | 0        | 60    | 120
        2026-05-01T00:00 | 60    | 10       | 50    | 100
        """,
    )
    assert_shows(
        case.ledger(),
        """
        hour             | type           | bytes | amount | reason
        2026-04-14T12:00 | traffic_charge | 0     | 0      | usage
        2026-04-30T23:00 | traffic_charge | 20    | 40     | usage
        2026-05-01T00:00 | traffic_charge | 0     | 0      | usage
        2026-05-01T00:00 | adjustment     | 30    | 60     | prices changed
        2026-05-01T00:00 | adjustment     | -20   | -40    | prices changed
        2026-04-14T12:00 | adjustment     | 50    | 100    | prices changed
        2026-04-30T23:00 | adjustment     | 40    | 80     | prices changed
        2026-05-01T00:00 | adjustment     | 40    | 80     | prices changed
        """,
    )
    case.assert_settled()


PERIODS = {
    "months, over leap day, short February, year's end": (
        1,
        """
        minute           | bytes | included | rated | amount
        2024-02-29T23:30 | 80    | 80       | 0     | 0
        2024-02-29T23:59 | 40    | 20       | 20    | 40
        2024-03-01T00:00 | 80    | 80       | 0     | 0
        2025-02-28T23:59 | 120   | 100      | 20    | 40
        2025-03-01T00:00 | 80    | 80       | 0     | 0
        2025-12-31T23:59 | 120   | 100      | 20    | 40
        2026-01-01T00:00 | 80    | 80       | 0     | 0
        2026-04-30T23:59 | 120   | 100      | 20    | 40
        2026-05-01T00:00 | 80    | 80       | 0     | 0
        """,
    ),
    "from the 15th": (
        15,
        """
        minute           | bytes | included | rated | amount
        2025-12-31T23:59 | 60    | 60       | 0     | 0
        2026-01-01T00:00 | 30    | 30       | 0     | 0
        2026-01-14T23:59 | 60    | 10       | 50    | 100
        2026-01-15T00:00 | 60    | 60       | 0     | 0
        2026-02-14T23:59 | 60    | 40       | 20    | 40
        2026-02-15T00:00 | 60    | 60       | 0     | 0
        """,
    ),
    "from the 28th, over a leap day": (
        28,
        """
        minute           | bytes | included | rated | amount
        2024-02-27T23:59 | 120   | 100      | 20    | 40
        2024-02-28T00:00 | 80    | 80       | 0     | 0
        2024-02-29T12:00 | 40    | 20       | 20    | 40
        2024-03-27T23:59 | 10    | 0        | 10    | 20
        2024-03-28T00:00 | 80    | 80       | 0     | 0
        """,
    ),
}


@pytest.mark.parametrize(("anchor_day", "table"), PERIODS.values(), ids=PERIODS)
def test_r3_each_period_has_its_quota_whichever_hour_is_rated_first(
    anchor_day: int, table: str, case: Case
) -> None:
    """100 bytes per period; the newest hour is collected and rated first."""
    case.line.settings |= {
        "initial_included_quota_bytes": 100,
        "billing_period_anchor_day": anchor_day,
    }
    usage = [(minute, int(moved)) for minute, moved, *_ in rows_of(table)[1:]]
    served, total = [seen(f"{usage[0][0]}:01Z", A=0)], 0
    for minute, moved in usage:
        total += moved
        served.append(seen(f"{minute}:03Z", A=total))
    case.serve(served)

    for hour in sorted({minute[:13] for minute, _ in usage}, reverse=True):
        case.bill(hour)

    assert_shows(case.minutes(), table)
    case.assert_billed_as_audited()


def test_r3_a_late_source_takes_its_place_in_the_order_of_consumption(case: Case) -> None:
    """100 bytes, 30 per series, all in one minute: node, inbound, env, source, in byte order."""
    case.line.settings["initial_included_quota_bytes"] = 100

    def serve(source_id: str, *names: tuple[str, str, tuple[str, ...]]) -> None:
        case.serve(
            [
                snapshot(at, *(sample(A, total, 0, tag) for tag in tags), node=node, env=env)
                for at, total in (("12:29:03", 0), ("12:30:03", 30))
                for node, env, tags in names
            ],
            source_id,
            shared_node=True,
        )

    serve("jp-1", ("node-a", "prod", ("tcp", "xhttp")), ("node-b", "prod", ("tcp",)))
    case.bill("12")
    columns = "node   | tag   | env  | source | included | rated | amount\n"
    assert_shows(
        case.minutes(),
        columns
        + """
        node-a | tcp   | prod | jp-1   | 30       | 0     | 0
        node-a | xhttp | prod | jp-1   | 30       | 0     | 0
        node-b | tcp   | prod | jp-1   | 30       | 0     | 0
        """,
    )

    serve(
        "jp-2",
        ("node-a", "prod", ("tcp",)),
        ("node-a", "dev", ("tcp",)),
        ("node-B", "prod", ("tcp",)),
    )
    case.collect("12", source_id="jp-2")
    case.rate()

    assert_shows(
        case.minutes(),
        columns
        + """
        node-B | tcp   | prod | jp-2   | 30       | 0     | 0
        node-a | tcp   | dev  | jp-2   | 30       | 0     | 0
        node-a | tcp   | prod | jp-1   | 30       | 0     | 0
        node-a | tcp   | prod | jp-2   | 10       | 20    | 40
        node-a | xhttp | prod | jp-1   | 0        | 30    | 60
        node-b | tcp   | prod | jp-1   | 0        | 30    | 60
        """,
    )
    assert_shows(
        case.ledger(),
        """
        hour  | type           | bytes | amount | reason
        12:00 | traffic_charge | 0     | 0      | usage
        12:00 | adjustment     | 80    | 160    | usage changed
        """,
    )
    case.assert_settled()
