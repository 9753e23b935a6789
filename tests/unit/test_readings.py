"""Readings of a series in an hour, one subtraction a line: C3, C4, C5 and C7 by hand."""

import pytest

from billing_etl.counters import FirstKind
from billing_etl.counters.readings import Totals, readings

MINUTE = 60_000_000_000
BEFORE = Totals(9 * MINUTE, 100, 200)


def at(minute: int, up: int, down: int) -> Totals:
    return Totals(minute * MINUTE + 3, up, down)


def added(
    *served: Totals, kind: FirstKind = FirstKind.DELTA, before: Totals | None = BEFORE
) -> list[tuple[int, int, int, str]]:
    return [
        (each.minute, each.uplink_bytes, each.downlink_bytes, each.how)
        for each in readings(served, kind, before)
    ]


def test_each_reading_is_measured_from_the_one_before_in_time() -> None:
    served = [at(12, 130, 240), at(10, 101, 202), at(11, 101, 202)]
    assert added(*served) == [
        (10, 1, 2, "difference"),
        (11, 0, 0, "difference"),
        (12, 29, 38, "difference"),
    ]


def test_one_counter_that_falls_restarts_both() -> None:
    assert added(at(10, 110, 5), at(11, 3, 7), at(12, 4, 9)) == [
        (10, 110, 5, "reset"),
        (11, 3, 7, "reset"),
        (12, 1, 2, "difference"),
    ]


def test_of_one_instant_the_larger_total_of_each_counter_counts() -> None:
    assert added(at(10, 101, 260), at(10, 150, 203)) == [(10, 50, 60, "difference")]
    assert added(at(10, 150, 203), at(10, 101, 260)) == [(10, 50, 60, "difference")]


@pytest.mark.parametrize(
    ("kind", "how", "bytes_of_the_first"),
    [
        (FirstKind.BORN, "first sight", (30, 40)),
        (FirstKind.CHARGED, "first sight", (30, 40)),
        (FirstKind.BASELINE, "baseline", (0, 0)),
        (FirstKind.IMPLAUSIBLE, "baseline", (0, 0)),
    ],
)
def test_a_first_sight_is_what_it_was_judged_as(
    kind: FirstKind, how: str, bytes_of_the_first: tuple[int, int]
) -> None:
    found = added(at(10, 30, 40), at(11, 31, 42), kind=kind, before=None)
    assert found == [(10, *bytes_of_the_first, how), (11, 1, 2, "difference")]


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        (FirstKind.DELTA, (5, 7, "difference")),
        (FirstKind.BORN, (105, 207, "first sight")),
        (FirstKind.CHARGED, (105, 207, "first sight")),
        (FirstKind.BASELINE, (0, 0, "baseline")),
        (FirstKind.IMPLAUSIBLE, (0, 0, "baseline")),
    ],
)
def test_only_a_delta_is_measured_from_the_reading_before_the_hour(
    kind: FirstKind, first: tuple[int, int, str]
) -> None:
    found = added(at(10, 105, 207), at(11, 106, 209), kind=kind)
    assert found == [(10, *first), (11, 1, 2, "difference")]


def test_a_counter_that_fell_before_the_hour_restarts_both() -> None:
    assert added(at(10, 300, 7), kind=FirstKind.RESET) == [(10, 300, 7, "reset")]
    assert added(at(10, 300, 7), kind=FirstKind.RESET, before=None) == [(10, 300, 7, "first sight")]


def test_nothing_served_adds_nothing() -> None:
    assert added() == []
