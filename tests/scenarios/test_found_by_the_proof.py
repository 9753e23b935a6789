"""What walks through random worlds found, as the smallest case of each."""

import pytest
from pipeline.audited import assert_as_audited
from pipeline.harness import (
    HISTORY,
    A,
    B,
    Line,
    facts,
    gaps,
    row_versions,
    sample,
    snapshot,
    state,
    usage,
)
from proof.side_by_side import locked

from billing_etl.counters.limits import LARGEST_SUM
from billing_etl.store import database


def test_look_back_counts_in_an_hour_that_was_collected_before_it_was_served(line: Line) -> None:
    """C4: hour 12 was collected with an empty snapshot alone; 12:55 turned up after that.

    The node has no closing before hour 13, so hour 13 looks back, into an hour that is collected.
    """
    empty, late = snapshot("12:01:03"), snapshot("12:55:03", sample(A, 100, 0))
    noon = [snapshot("13:00:03", sample(A, 107, 0)), snapshot("13:59:03", sample(A, 110, 0))]
    line.serve([empty])
    line.collected("12")

    line.serve([empty, late, *noon])
    line.collected("13")

    assert [(fact.minute, fact.up, fact.span) for fact in facts(line)] == [
        ("13:00", 7, 5),
        ("13:59", 3, 59),
    ]
    line.collected("12")
    line.rate()
    assert_as_audited(line, {"jp-1": [empty, late, *noon]}, {"jp-1": ["12", "13"]})


def test_what_look_back_finds_in_a_collected_hour_is_not_that_hours_own(line: Line) -> None:
    """C14: hour 12 is judged again when hour 11 turns up; 12:55 was never collected with it."""
    line.serve([snapshot("12:01:03")])
    line.collected("12")
    late, noon = snapshot("12:55:03", sample(A, 100, 0)), snapshot("13:00:03", sample(A, 107, 0))
    line.serve([snapshot("12:01:03"), late, noon])
    line.collected("13")

    line.serve([snapshot("11:30:03"), snapshot("12:01:03"), late, noon])
    line.collected("11")

    assert gaps(line) == [
        ("exporter_down", "11:30:03", "12:01:03", 0),
        ("exporter_down", "12:55:03", "13:00:03", 7),
    ]


def test_an_hour_before_everything_of_an_exporter_that_serves_nothing_stays_partial(
    line: Line,
) -> None:
    """C12: later hours that are stored say nothing about what was served before them."""
    line.serve([snapshot("13:00:03", sample(A, 1, 0))])
    line.collected("13")
    line.serve([])

    line.collected("12")

    assert state(line, "12") == "partial"


def test_look_back_that_turns_up_corrects_the_hours_after_its_own(line: Line) -> None:
    """C14: look-back of hour 12 finds 11:55 late; hour 12 itself has nothing that changes."""
    empty, first = snapshot("12:30:03"), snapshot("13:05:03", sample(A, 150, 0))
    line.serve([empty, first])
    line.collected("12", "13")
    assert usage(line) == {}

    line.serve([snapshot("11:55:03", sample(A, 100, 0)), empty, first])
    line.collected("12")

    assert usage(line) == {"13:05": 50}
    assert_replay_changes_nothing(line, "12", "13")


def test_look_back_of_one_account_corrects_a_later_hour_of_that_account(line: Line) -> None:
    """C14: A is in the look-back of hour 12 alone, and never in hour 12."""
    served = [snapshot("12:30:03", sample(B, 7, 0)), snapshot("13:05:03", sample(A, 150, 0))]
    line.serve(served, first_sight="baseline")
    line.collected("12", "13")
    line.rate()

    served.insert(0, snapshot("11:55:03", sample(A, 100, 0)))
    line.serve(served)
    line.collected("12")
    line.rate()

    assert usage(line) == {"13:05": 50}
    assert_as_audited(line, {"jp-1": served}, {"jp-1": ["12", "13"]})
    assert_replay_changes_nothing(line, "12", "13")


def test_look_back_reaches_over_hours_that_are_collected(line: Line) -> None:
    """C14: every hour after a snapshot that was looked back to is judged again, not one alone."""
    empty = [snapshot("11:30:03"), snapshot("12:30:03")]
    line.serve(empty, lookback_minutes=180)
    line.collected("11", "12")

    late = [snapshot("10:55:03", sample(A, 1, 0)), snapshot("11:45:03", sample(A, 2, 0))]
    first = snapshot("13:05:03", sample(A, 5, 0))
    line.serve([*late, *empty, first])
    line.collected("13")

    expected = [
        ("exporter_down", "10:55:03", "11:30:03", 0),
        ("exporter_down", "11:45:03", "12:30:03", 0),
        ("exporter_down", "12:30:03", "13:05:03", 3),
        ("series_absent", "11:45:03", "13:05:03", 3),
    ]
    assert gaps(line) == expected
    line.collected("12", "13")
    assert gaps(line) == expected


def test_look_back_that_nothing_needs_any_more_is_no_part_of_a_gap(line: Line) -> None:
    """C4, C14: hour 10 has a closing, so hour 13 is not measured from its look-back any more."""
    old, empty = snapshot("10:30:03", sample(A, 1, 0)), snapshot("11:30:03")
    late, noon = snapshot("12:55:03", sample(A, 2, 0)), snapshot("13:10:03")
    line.serve([old, empty, late, noon])
    line.collected("11", "13")
    assert ("exporter_down", "12:55:03", "13:10:03", 0) in gaps(line)

    line.collected("10")

    assert gaps(line) == [
        ("exporter_down", "10:30:03", "11:30:03", 0),
        ("exporter_down", "11:30:03", "13:10:03", 0),
    ]
    assert_replay_changes_nothing(line, "10", "11", "13")


def assert_replay_changes_nothing(line: Line, *hours: str) -> None:
    before = row_versions(line, *HISTORY)
    for hour in reversed(hours):
        line.collected(hour)
    assert row_versions(line, *HISTORY) == before


def test_a_minute_beyond_64_bits_is_named_also_when_it_is_another_hours(line: Line) -> None:
    """C14: hour 12 fits as long as its first sample is measured from 11:50; 11:55 is a restart."""
    before = snapshot("11:50:03", sample(A, LARGEST_SUM, 0))
    noon = [
        snapshot("12:00:03", sample(A, LARGEST_SUM, 0)),
        snapshot("12:00:33", sample(A, LARGEST_SUM - 1, 0)),
    ]
    line.serve([before, *noon])
    line.collected("12")

    line.serve([before, snapshot("11:55:03", sample(A, 5, 0)), *noon])
    ((source_id, hour, error),) = line.collect("11").failures

    assert (source_id, str(hour)) == ("jp-1", "2026-04-08T11")
    assert error == (
        f"source jp-1, hour 2026-04-08T11: prod/node-1 {A} tcp, minute 2026-04-08T12:00:00Z: "
        f"expected at most {LARGEST_SUM} bytes in sum, got {2 * LARGEST_SUM - 6}; nothing was "
        "written, set this counter right at the exporter and collect again"
    )
    assert usage(line) == {"12:00": LARGEST_SUM - 1}


def test_collecting_waits_for_a_sealing_before_it_holds_anything_of_a_new_account(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.serve([snapshot("12:30:03")])
    line.collected("12")
    line.serve([snapshot("12:30:03"), snapshot("12:31:03", sample(A, 1, 0))])
    monkeypatch.setattr(database, "LOCK_WAIT_SECONDS", 0.3)
    adds_account = (
        f"insert into billing_core.accounts (account_uuid, opening_balance) values ('{A}', 0)"
        " returning 1"
    )

    with locked(line, adds_account), locked(line, "select from billing_core.deliveries for update"):
        ((_, _, error),) = line.collect("12").failures

    assert error == (
        "source jp-1, hour 2026-04-08T12: waited 0.3 s for an export that seals hour 2026-04-08T12 "
        "or a later one; nothing was written, run again when that has ended"
    )


def test_a_quarantined_look_back_sample_is_presence_also_when_its_hour_is_judged_again(
    line: Line,
) -> None:
    """C7, C14: A was there at 12:55, unusable; so 150 bytes at 13:05 are no birth."""
    empty, bad = snapshot("11:30:03"), snapshot("12:55:03", sample(A, -1, 0))
    line.serve([empty, bad, snapshot("13:05:03", sample(A, 150, 0))])

    line.collected("13")
    assert usage(line) == {}
    line.collected("11")  # hour 13 is judged again
    assert usage(line) == {}
    line.collected("13")
    assert usage(line) == {}
    line.collected("12")
    assert line.rows("select * from billing_core.lookback_presence") == []
    assert usage(line) == {}
