"""The parameters of a source: how long a gap is, and what could have flowed (C7, C9)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_etl.counters import CounterPolicy
from billing_etl.hours import NS_PER_SECOND

DAY_NS = 86_400 * NS_PER_SECOND
GIGABIT = 10**9


def exceeds(quantity_bytes: int, elapsed_ns: int, bits_per_second: int = GIGABIT) -> bool:
    policy = CounterPolicy(max_bits_per_second=bits_per_second)
    (result,) = policy.exceeds_rate(np.array([quantity_bytes]), np.array([elapsed_ns])).tolist()
    return bool(result)


@pytest.mark.parametrize(("interval_seconds", "gap_seconds"), [(1, 2.5), (60, 150), (300, 750)])
def test_more_than_two_and_a_half_intervals_are_a_gap(
    interval_seconds: int, gap_seconds: float
) -> None:
    gap_ns = CounterPolicy(interval_seconds).gap_ns

    assert gap_ns == gap_seconds * NS_PER_SECOND
    assert type(gap_ns) is int


def test_the_rate_is_exact_where_floats_are_not() -> None:
    """A day at one gigabit a second is 10.8 terabytes; one byte more is far below a millionth."""
    day_bytes = GIGABIT * 86_400 // 8

    assert not exceeds(day_bytes, DAY_NS)
    assert exceeds(day_bytes + 1, DAY_NS)
    assert exceeds(day_bytes, DAY_NS - 1)


def test_every_quantity_is_judged_by_itself() -> None:
    quantities, elapsed_ns = np.array([10, 9, 8, 0]), np.array([8, 72, 63, 0]) * NS_PER_SECOND

    result = CounterPolicy(max_bits_per_second=1).exceeds_rate(quantities, elapsed_ns)

    assert result.tolist() == [True, False, True, False]
    assert result.dtype == np.bool_


@given(
    st.one_of(st.integers(0, 1000), st.integers(0, 2**63 - 1)),
    st.one_of(st.integers(0, 1000), st.integers(0, 2**62)),
    st.sampled_from([1, 1000, GIGABIT, 10**12]),
)
def test_the_rate_is_that_of_whole_numbers(
    quantity_bytes: int, elapsed_ns: int, bits_per_second: int
) -> None:
    bits_allowed_ns = bits_per_second * elapsed_ns
    expected = quantity_bytes * 8 * NS_PER_SECOND > bits_allowed_ns

    assert exceeds(quantity_bytes, elapsed_ns, bits_per_second) is expected
