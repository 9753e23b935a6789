"""What walks through random worlds found, as the smallest case of each."""

from pipeline.audited import assert_as_audited
from pipeline.harness import A, Line, facts, gaps, sample, snapshot, state


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
