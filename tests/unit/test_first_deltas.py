"""The first delta of an hour: predecessor, reset, first sight, span (C4, C5, C7, C9)."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from billing_etl.counters import (
    CounterPolicy,
    FirstDeltas,
    FirstKind,
    FirstSamples,
    judge_first_deltas,
)
from billing_etl.counters.policy import FirstSight
from billing_etl.hours import NS_PER_SECOND, parse_instant_ns

NOON_NS = parse_instant_ns("2026-04-08T12:00:03Z")
SECOND = NS_PER_SECOND
NONE = 0


def judged(
    totals: tuple[int, int],
    before: tuple[int, int, int] | None = None,
    node_seconds_ago: float | None = None,
    appeared: bool = False,
    policy: CounterPolicy | None = None,
) -> FirstDeltas:
    """One first sample at noon. ``before``: seconds ago, up, down of its predecessor."""
    values = {
        "first_ns": NOON_NS,
        "first_uplink": totals[0],
        "first_downlink": totals[1],
        "prev_ns": NOON_NS - before[0] * SECOND if before else NONE,
        "prev_uplink": before[1] if before else 0,
        "prev_downlink": before[2] if before else 0,
        "node_prev_ns": NONE
        if node_seconds_ago is None
        else NOON_NS - int(node_seconds_ago * SECOND),
    }
    arrays = {name: np.array([value], dtype=np.int64) for name, value in values.items()}
    return judge_first_deltas(
        FirstSamples(**arrays, appeared=np.array([appeared])), policy or CounterPolicy()
    )


def summary(deltas: FirstDeltas) -> tuple[FirstKind, int, int, int]:
    """Kind, up, down, span."""
    return (
        FirstKind(int(deltas.kind[0])),
        int(deltas.uplink[0]),
        int(deltas.downlink[0]),
        int(deltas.spans_minutes[0]),
    )


@pytest.mark.parametrize(
    ("totals", "before", "expected"),
    [
        pytest.param((12, 25), (60, 10, 20), (FirstKind.DELTA, 2, 5, 1), id="a minute ago"),
        pytest.param((10, 20), (60, 10, 20), (FirstKind.DELTA, 0, 0, 1), id="idle"),
        pytest.param((12, 25), (7200, 10, 20), (FirstKind.DELTA, 2, 5, 120), id="two hours ago"),
        pytest.param((9, 25), (60, 10, 20), (FirstKind.RESET, 9, 25, 1), id="up fell"),
        pytest.param((12, 0), (60, 10, 20), (FirstKind.RESET, 12, 0, 1), id="down fell"),
        pytest.param((0, 0), (180, 10, 20), (FirstKind.RESET, 0, 0, 3), id="both fell to zero"),
    ],
)
def test_with_a_predecessor(
    totals: tuple[int, int],
    before: tuple[int, int, int],
    expected: tuple[FirstKind, int, int, int],
) -> None:
    assert summary(judged(totals, before, node_seconds_ago=before[0])) == expected


@pytest.mark.parametrize(
    ("policy", "appeared", "expected"),
    [
        pytest.param("auto", False, (FirstKind.BASELINE, 0, 0, 0), id="auto, first of its node"),
        pytest.param("auto", True, (FirstKind.BORN, 12, 25, 1), id="auto, born"),
        pytest.param("charge", False, (FirstKind.CHARGED, 12, 25, 1), id="charge, first"),
        pytest.param("charge", True, (FirstKind.CHARGED, 12, 25, 1), id="charge, born"),
        pytest.param("baseline", False, (FirstKind.BASELINE, 0, 0, 0), id="baseline, first"),
        pytest.param("baseline", True, (FirstKind.BASELINE, 0, 0, 0), id="baseline, born"),
    ],
)
def test_without_a_predecessor(
    policy: FirstSight, appeared: bool, expected: tuple[FirstKind, int, int, int]
) -> None:
    deltas = judged(
        (12, 25), None, 60 if appeared else None, appeared, CounterPolicy(first_sight=policy)
    )

    assert summary(deltas) == expected
    assert bool(deltas.is_baseline[0]) == (expected[0] is FirstKind.BASELINE)


@pytest.mark.parametrize(
    ("total", "seconds", "kind"),
    [
        # 1,000 bit/s are 125 bytes a second.
        pytest.param(7500, 60, FirstKind.BORN, id="exactly the rate"),
        pytest.param(7501, 60, FirstKind.IMPLAUSIBLE, id="one byte more"),
        pytest.param(7501, 60.008, FirstKind.BORN, id="8 ms more"),
        pytest.param(0, 0.000000001, FirstKind.BORN, id="nothing in no time"),
        pytest.param(2**63 - 1, 60, FirstKind.IMPLAUSIBLE, id="a lifetime"),
    ],
)
def test_a_birth_must_have_been_able_to_flow(total: int, seconds: float, kind: FirstKind) -> None:
    policy = CounterPolicy(max_bits_per_second=1000)

    deltas = judged((total, 0), None, seconds, True, policy)

    assert FirstKind(int(deltas.kind[0])) is kind
    assert int(deltas.uplink[0]) == (total if kind is FirstKind.BORN else 0)


@pytest.mark.parametrize(
    ("up", "down", "exceeded"),
    [(7500, 0, False), (7501, 0, True), (4000, 3500, False), (1, 7500, True)],
)
def test_a_delta_above_the_rate_is_billed_and_marked(up: int, down: int, exceeded: bool) -> None:
    deltas = judged((up, down), (60, 0, 0), 60, policy=CounterPolicy(max_bits_per_second=1000))

    assert summary(deltas) == (FirstKind.DELTA, up, down, 1)
    assert bool(deltas.rate_exceeded[0]) is exceeded


def test_both_counters_count_for_what_could_have_flowed() -> None:
    deltas = judged((1, 7500), None, 60, True, CounterPolicy(max_bits_per_second=1000))

    assert summary(deltas) == (FirstKind.IMPLAUSIBLE, 0, 0, 0)
    assert deltas.is_baseline.tolist() == [True]


def test_the_first_nanosecond_of_1970_is_an_instant_as_any_other() -> None:
    """Only zero says that there is no predecessor."""
    values = {field.name: np.ones(1, dtype=np.int64) for field in fields(FirstSamples)}
    values["first_ns"], values["first_uplink"] = np.array([NOON_NS]), np.array([12])
    deltas = judge_first_deltas(FirstSamples(**values), CounterPolicy())  # type: ignore[arg-type]

    assert (deltas.kind.tolist(), deltas.uplink.tolist()) == ([FirstKind.DELTA], [11])


@pytest.mark.parametrize(
    ("totals", "before", "is_reset"), [((9, 25), (60, 10, 20), True), ((12, 25), None, False)]
)
def test_only_a_reset_is_marked_as_one(
    totals: tuple[int, int], before: tuple[int, int, int] | None, is_reset: bool
) -> None:
    assert judged(totals, before).is_reset.tolist() == [is_reset]


@pytest.mark.parametrize("first_sight", ["auto", "charge", "baseline"])
@pytest.mark.parametrize("before", [None, (61, 10, 20)])
def test_quantities_are_whole_numbers(
    first_sight: FirstSight, before: tuple[int, int, int] | None
) -> None:
    deltas = judged((12, 25), before, policy=CounterPolicy(first_sight=first_sight))

    for name in ("kind", "uplink", "downlink", "spans_minutes"):
        assert getattr(deltas, name).dtype == np.int64, name
    for name in ("absent", "rate_exceeded"):
        assert getattr(deltas, name).dtype == np.bool_, name


@pytest.mark.parametrize(
    ("before", "totals", "node_seconds_ago", "absent"),
    [
        pytest.param((150, 0, 0), (1, 0), 60, False, id="2.5 intervals"),
        pytest.param((151, 0, 0), (1, 0), 60, True, id="more, and the node was seen meanwhile"),
        pytest.param((151, 0, 0), (1, 0), 151, False, id="the node was not seen either"),
        pytest.param((151, 0, 0), (0, 0), 60, False, id="no bytes after it"),
    ],
)
def test_absent_series(
    before: tuple[int, int, int], totals: tuple[int, int], node_seconds_ago: float, absent: bool
) -> None:
    assert bool(judged(totals, before, node_seconds_ago).absent[0]) is absent


def test_nothing_in_nothing_out() -> None:
    empty: dict[str, Any] = {
        field.name: np.zeros(0, dtype=np.bool_ if field.name == "appeared" else np.int64)
        for field in fields(FirstSamples)
    }

    assert len(judge_first_deltas(FirstSamples(**empty), CounterPolicy()).kind) == 0
