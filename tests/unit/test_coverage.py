"""How much of an hour was seen, and whether more can still come (C12)."""

import numpy as np
import pytest

from billing_etl.counters import NodeCoverage, cover_hour
from billing_etl.hours import parse_hour

HOUR = parse_hour("2026-04-08T12")
SECOND = 10**9


def node(*minutes: float, seen_later: bool = False) -> NodeCoverage:
    """A node with a snapshot at each of these minutes of the hour."""
    instants = [HOUR.start_ns + int(minute * 60) * SECOND for minute in minutes]
    return NodeCoverage(np.array(instants, dtype=np.int64), seen_later)


def state(
    *nodes: NodeCoverage,
    has_ended: bool = True,
    oldest_minute: float | None = 0,
    interval_seconds: int = 60,
    served_later: bool = False,
) -> str:
    oldest = None if oldest_minute is None else HOUR.start_ns + int(oldest_minute * 60) * SECOND
    return cover_hour(
        list(nodes),
        HOUR,
        interval_seconds,
        has_ended=has_ended,
        oldest_served_ns=oldest,
        served_later=served_later,
    ).state


ALL = range(60)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        pytest.param([node(*ALL)], "complete", id="every minute"),
        pytest.param([node(0, 59)], "complete", id="the last interval"),
        pytest.param([node(0, 58.99)], "partial", id="just before it"),
        pytest.param([node(0, seen_later=True)], "complete", id="seen later"),
        pytest.param([node(seen_later=True)], "complete", id="silent in the hour, seen later"),
        pytest.param([node()], "partial", id="silent"),
        pytest.param([node(*ALL), node(0)], "partial", id="the worst of two"),
    ],
)
def test_complete_or_partial(nodes: list[NodeCoverage], expected: str) -> None:
    assert state(*nodes, oldest_minute=-5) == expected


@pytest.mark.parametrize(
    ("nodes", "oldest_minute", "expected"),
    [
        pytest.param([node(*range(5, 60))], 5, "lost", id="the oldest is later than what misses"),
        pytest.param([node(*range(4), *range(5, 60))], 5, "lost", id="one minute, just forgotten"),
        pytest.param(
            [node(*range(4), *range(5, 60))], 4.99, "complete", id="one minute, half forgotten"
        ),
        pytest.param([node(*range(5, 60))], 4.5, "lost", id="a whole missing minute before it"),
        pytest.param([node(*range(1, 60))], 0.5, "complete", id="not a whole minute"),
        pytest.param([node(*range(5, 60))], -1, "complete", id="older ones are still served"),
        pytest.param([node(*ALL)], 70, "complete", id="forgotten, but nothing was missing"),
        pytest.param([node(*range(30))], 70, "lost", id="forgotten before it was seen"),
        pytest.param([node(*ALL), node(0)], 30, "lost", id="lost is worse than partial"),
        pytest.param([node(0)], None, "partial", id="nothing served any more"),
    ],
)
def test_lost(nodes: list[NodeCoverage], oldest_minute: float | None, expected: str) -> None:
    assert state(*nodes, oldest_minute=oldest_minute) == expected


@pytest.mark.parametrize(
    ("oldest_minute", "served_later", "expected"),
    [
        pytest.param(None, False, "partial", id="nothing at all"),
        pytest.param(-90, False, "partial", id="only before the hour"),
        pytest.param(-90, True, "complete", id="before and after it"),
        pytest.param(90, True, "lost", id="only after it"),
        pytest.param(60, True, "lost", id="from its end on"),
        pytest.param(59.99, True, "complete", id="from its last second on"),
    ],
)
def test_without_an_expected_node(
    oldest_minute: float | None, served_later: bool, expected: str
) -> None:
    assert state(oldest_minute=oldest_minute, served_later=served_later) == expected


def test_an_hour_that_has_not_ended_is_partial() -> None:
    assert state(node(*ALL, seen_later=True), has_ended=False) == "partial"


@pytest.mark.parametrize(
    ("interval_seconds", "minutes", "expected", "missing"),
    [
        pytest.param(60, ALL, 60, 0, id="a minute"),
        pytest.param(60, [0, 1, 3], 60, 57, id="missing minutes"),
        pytest.param(60, [0, 0.5], 60, 59, id="two in one minute"),
        pytest.param(300, range(0, 60, 5), 12, 0, id="five minutes"),
        pytest.param(300, [0, 5], 12, 50, id="missing five at a time"),
        pytest.param(10, ALL, 360, 0, id="ten seconds: a minute is the least"),
        pytest.param(3600, [30], 1, 0, id="an hour"),
        pytest.param(7200, [30], 1, 0, id="longer than an hour"),
        pytest.param(420, [], 9, 60, id="an hour is no multiple of seven minutes"),
    ],
)
def test_expected_snapshots_and_missing_minutes(
    interval_seconds: int, minutes: list[float], expected: int, missing: int
) -> None:
    coverage = cover_hour(
        [node(*minutes)],
        HOUR,
        interval_seconds,
        has_ended=True,
        oldest_served_ns=None,
        served_later=False,
    )

    assert (coverage.expected_snapshots, coverage.missing_minutes) == (expected, missing)


def test_a_minute_is_missing_when_any_node_misses_it() -> None:
    coverage = cover_hour(
        [node(*range(30)), node(*range(20, 60))],
        HOUR,
        60,
        has_ended=True,
        oldest_served_ns=None,
        served_later=False,
    )

    assert (coverage.expected_snapshots, coverage.missing_minutes) == (120, 50)


def test_without_an_expected_node_every_minute_is_missing() -> None:
    coverage = cover_hour([], HOUR, 60, has_ended=True, oldest_served_ns=None, served_later=False)

    assert (coverage.expected_snapshots, coverage.missing_minutes) == (60, 60)
