"""History never shrinks (C13): what an exporter forgets stays collected, and stays billed."""

from pipeline.harness import DAY, HISTORY, JSON, checkpoint, findings, row_versions, source_hour

from scenarios.case import Case, assert_shows, seen

SERVED = [
    seen("12:57:03", A=0),
    seen("12:58:03", A=100),
    seen("12:58:30", node="node-2", B=5),
    seen("12:59:03", A=130),
    seen("12:59:30", node="node-2", B=25),
    seen("13:00:03", A=150),
]
BILL = """
    minute | account | bytes | span | rated | amount
    12:58  | A       | 100   | 1    | 100   | 200
    12:59  | A       | 30    | 1    | 30    | 60
    12:59  | B       | 20    | 1    | 20    | 40
    13:00  | A       | 20    | 1    | 20    | 40
"""


def without(*clocks: str) -> list[JSON]:
    return [each for each in SERVED if each["collected_at"][11:16] not in clocks]


# What is still served, and what the finding then says of hour 12.
FORGOTTEN: dict[str, tuple[list[JSON], str]] = {
    "all there was": ([], "got 0 without 5 of them, the first of 2026-04-08T12:57:03Z"),
    "the whole hour": (
        SERVED[-1:],
        "got 0 without 5 of them, the first of 2026-04-08T12:57:03Z",
    ),
    "its oldest snapshot": (
        without("12:57"),
        "got 4 without 1 of them, the first of 2026-04-08T12:57:03Z",
    ),
    "its newest minute": (
        without("12:59"),
        "got 3 without 2 of them, the first of 2026-04-08T12:59:03Z",
    ),
    "a whole node": (
        [each for each in SERVED if each["node_id"] == "node-1"],
        "got 3 without 2 of them, the first of 2026-04-08T12:58:30Z",
    ),
    "one snapshot, with a new one in its place": (
        [*without("12:57"), seen("12:57:04", A=50)],
        "got 5 without 1 of them, the first of 2026-04-08T12:57:03Z",
    ),
}


def billed(case: Case) -> None:
    case.serve(SERVED)
    case.bill("12", "13")
    assert_shows(case.minutes(), BILL)


def test_whatever_the_exporter_forgets_nothing_changes_but_a_finding(case: Case) -> None:
    billed(case)
    before = row_versions(case.line, *HISTORY, "findings")

    for what, (left, says) in FORGOTTEN.items():
        case.line.serve(left)
        (result,) = case.collect("12").results
        case.rate()

        assert result.outcome == "history_shrunk", what
        assert row_versions(case.line, *HISTORY, "findings") == before, what
        ((kind, hour, message),) = findings(case.line)
        assert (kind, hour) == ("history_shrunk", "12:00"), what
        assert f"expected the 5 snapshots stored, {says}" in message, what

        case.line.serve(SERVED)
        case.bill("12")
        assert row_versions(case.line, *HISTORY, "findings") == before, what
        assert findings(case.line) == [], what


def test_more_than_what_is_stored_is_accepted_and_the_finding_goes(case: Case) -> None:
    billed(case)
    case.serve(without("12:57"))
    case.bill("12")
    assert case.findings() == [("history_shrunk", "12:00")]

    case.serve([*SERVED, seen("12:59:33", A=140)])
    case.bill("12")

    assert case.findings() == []
    assert_shows(
        case.minutes(),
        """
        minute | account | bytes | span | rated | amount
        12:58  | A       | 100   | 1    | 100   | 200
        12:59  | A       | 40    | 1    | 40    | 80
        12:59  | B       | 20    | 1    | 20    | 40
        13:00  | A       | 10    | 1    | 10    | 20
        """,
    )
    assert_shows(
        case.ledger(),
        """
        hour  | account | type           | bytes | amount | reason
        12:00 | A       | traffic_charge | 130   | 260    | usage
        13:00 | A       | traffic_charge | 20    | 40     | usage
        12:00 | B       | traffic_charge | 20    | 40     | usage
        12:00 | A       | adjustment     | 10    | 20     | usage changed
        13:00 | A       | adjustment     | -10   | -20    | usage changed
        """,
    )
    case.assert_settled()


def test_the_same_instants_with_other_values_are_accepted(case: Case) -> None:
    """As of an exporter that still changes its last minutes: nothing is missing, so it counts."""
    billed(case)
    content = source_hour(case.line, "12")["content_hash"]

    changed = [
        seen("12:58:03", A=90),
        seen("12:59:03", A=135),
        seen("12:59:30", node="node-2", B=5),
    ]
    instants = {each["collected_at"] for each in changed}
    case.serve([*changed, *(each for each in SERVED if each["collected_at"] not in instants)])
    case.bill("12")

    assert source_hour(case.line, "12")["content_hash"] != content
    assert_shows(
        case.minutes(),
        """
        minute | account | bytes | span | rated | amount
        12:58  | A       | 90    | 1    | 90    | 180
        12:59  | A       | 45    | 1    | 45    | 90
        13:00  | A       | 15    | 1    | 15    | 30
        """,
    )
    assert_shows(
        case.ledger(),
        """
        hour  | account | type           | bytes | amount | reason
        12:00 | A       | traffic_charge | 130   | 260    | usage
        13:00 | A       | traffic_charge | 20    | 40     | usage
        12:00 | B       | traffic_charge | 20    | 40     | usage
        12:00 | A       | adjustment     | 5     | 10     | usage changed
        13:00 | A       | adjustment     | -5    | -10    | usage changed
        12:00 | B       | adjustment     | -20   | -40    | usage changed
        """,
    )
    case.assert_settled()


def test_a_partial_hour_that_is_forgotten_becomes_lost_and_what_follows_leans_on_it(
    case: Case,
) -> None:
    case.serve([seen("12:00:03", A=0), seen("12:58:03", A=100)])
    case.bill("12")
    assert (source_hour(case.line, "12")["state"], checkpoint(case.line)) == ("partial", "12:00")

    case.serve([seen("14:30:03", A=150)])
    (result,) = case.collect("12").results
    case.bill("13", "14")

    assert result.outcome == "history_shrunk"
    states = [source_hour(case.line, hour)["state"] for hour in ("12", "13", "14")]
    assert states == ["lost", "lost", "lost"]
    assert checkpoint(case.line) == "15:00"
    assert_shows(
        case.minutes(),
        """
        minute | bytes | span | rated | amount
        12:58  | 100   | 58   | 100   | 200
        14:30  | 50    | 92   | 50    | 100
        """,
    )
    assert_shows(
        case.ledger(),
        """
        hour  | type           | bytes | amount | reason
        12:00 | traffic_charge | 100   | 200    | usage
        14:00 | traffic_charge | 50    | 100    | usage
        """,
    )
    assert f"{DAY}T12:00:03Z" in findings(case.line)[0][2]
    case.assert_billed_as_audited()
