"""The worked example of docs/semantics.md, to the digit, through ``billing-etl pipeline``."""

from decimal import Decimal

import pytest

from pipeline.harness import (
    HISTORY,
    LATE_SNAPSHOT,
    WORKED_EXAMPLE,
    A,
    Answer,
    Entry,
    Fact,
    Line,
    answer_of,
    command,
    facts,
    findings,
    gaps,
    ledger,
    net,
    process,
    ratings,
    readings,
    resets,
    row_versions,
    source_hour,
    usage,
    worked_example,
)

HOUR_12 = ("--from", "2026-04-08T12", "--to", "2026-04-08T13")
CHARGE = Entry("12:00", A, "traffic_charge", 70, Decimal(140), "usage")
FACTS = [
    Fact("12:00", A, "tcp", "node-1", 10, 30, 1, False),
    Fact("12:02", A, "tcp", "node-1", 30, 70, 1, False),
    Fact("12:03", A, "tcp", "node-1", 7, 13, 1, True),
    Fact("12:09", A, "tcp", "node-1", 3, 7, 6, False),
]
RATINGS = [
    ("12:00", 40, 0, Decimal(0)),
    ("12:02", 60, 40, Decimal(80)),
    ("12:03", 0, 20, Decimal(40)),
    ("12:09", 0, 10, Decimal(20)),
]


def pipeline(line: Line) -> Answer:
    answer = command(line.environment(), "pipeline", *HOUR_12, "--json")
    assert answer.code == 0, answer.err
    return answer


@pytest.fixture
def billed(line: Line) -> Line:
    """The worked example, collected, rated and reconciled."""
    line.serve(worked_example())
    pipeline(line)
    return line


def test_every_number_of_the_table(line: Line) -> None:
    line.serve(worked_example())

    document = pipeline(line).document

    assert facts(line) == FACTS
    assert ratings(line) == RATINGS
    assert ledger(line) == [CHARGE]
    assert resets(line) == [("12:03:03", "node_restart", 540, 1100)]
    assert gaps(line) == [("exporter_down", "12:03:03", "12:09:03", 10)]
    assert findings(line) == []
    counts = source_hour(line, "12")
    assert (counts["snapshots"], counts["samples"], counts["used"]) == (5, 5, 5)
    assert (counts["duplicates"], counts["baselines"], counts["quarantined"]) == (0, 0, 0)
    assert document["rate"]["amount"] == "140"
    assert document["reconcile"]["clean"] is True


def test_bytes_are_conserved_as_the_example_says(billed: Line) -> None:
    assert sum(usage(billed).values()) == 170 == (10 + 20) - (500 + 1000) + (540 + 1100)


def test_as_a_process_of_its_own(line: Line) -> None:
    line.serve(worked_example())

    answer = answer_of(process(line.environment(), "pipeline", *HOUR_12, "--json"))

    assert answer.code == 0, answer.err
    assert answer.document["rate"]["amount"] == "140"
    assert (facts(line), ratings(line), ledger(line)) == (FACTS, RATINGS, [CHARGE])


def test_collected_again_nothing_changes(billed: Line) -> None:
    before = row_versions(billed, *HISTORY)

    pipeline(billed)

    assert row_versions(billed, *HISTORY) == before


def test_a_late_snapshot_moves_bytes_but_no_money(billed: Line) -> None:
    billed.serve(worked_example(LATE_SNAPSHOT))

    pipeline(billed)

    assert usage(billed) == {"12:00": 40, "12:02": 100, "12:03": 20, "12:04": 3, "12:09": 7}
    assert {fact.minute: fact.span for fact in facts(billed)}["12:09"] == 5
    assert gaps(billed) == [("exporter_down", "12:04:03", "12:09:03", 7)]
    assert ledger(billed) == [CHARGE]


def test_a_price_that_changes_at_12_05_appends_one_adjustment(billed: Line) -> None:
    billed.publish(
        versions=[
            {
                "price_version": "from five past",
                "from": "2026-04-08T12:05:00Z",
                "price_per_byte": "3",
                "included_quota_bytes": 100,
            }
        ]
    )

    # Ten rated bytes at 12:09 cost one more each.
    adjustment = Entry("12:00", A, "adjustment", 0, Decimal(10), "prices changed")
    assert ledger(billed) == [CHARGE, adjustment]
    assert ratings(billed)[-1] == ("12:09", 0, 10, Decimal(30))
    pipeline(billed)
    assert ledger(billed) == [CHARGE, adjustment]


def test_a_late_snapshot_after_the_price_changed_appends_an_adjustment(line: Line) -> None:
    """Three bytes move from 12:09, where a byte costs 3, to 12:04, where it costs 2."""
    line.serve(worked_example())
    line.publish(
        versions=[
            {"price_version": "first", "price_per_byte": "2", "included_quota_bytes": 100},
            {
                "price_version": "second",
                "from": "2026-04-08T12:05:00Z",
                "price_per_byte": "3",
                "included_quota_bytes": 100,
            },
        ]
    )
    pipeline(line)
    line.serve(worked_example(LATE_SNAPSHOT))

    pipeline(line)

    assert ledger(line) == [
        Entry("12:00", A, "traffic_charge", 70, Decimal(150), "usage"),
        Entry("12:00", A, "adjustment", 0, Decimal(-3), "usage changed"),
    ]


def test_hour_11_collected_afterwards_changes_nothing_of_hour_12(billed: Line) -> None:
    billed.collected("11")
    billed.rate()

    assert (facts(billed), ratings(billed), ledger(billed)) == (FACTS, RATINGS, [CHARGE])
    counts = source_hour(billed, "11")
    assert (counts["samples"], counts["baselines"], counts["used"]) == (1, 1, 0)


def test_hour_11_with_an_earlier_snapshot_is_billed_before_hour_12(line: Line) -> None:
    """Hour 12 was first measured by look-back; hour 11 then takes its share of the quota."""
    line.serve(readings(("11:20:03", 480, 980), *WORKED_EXAMPLE))
    pipeline(line)
    assert ledger(line) == [CHARGE]

    line.collected("11")
    line.rate()

    assert usage(line)["11:59"] == 40
    assert net(line) == {
        (A, "11:00"): (0, Decimal(0)),
        (A, "12:00"): (110, Decimal(220)),
    }
