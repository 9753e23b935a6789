"""Sums of bytes at and beyond 2^63-1: nothing wraps in silence."""

import numpy as np
import pytest

from billing_etl.counters.limits import LARGEST_SUM, cut_wrapped, refuse_wrapped
from billing_etl.errors import TerminalError
from billing_etl.rating import split_quota
from billing_etl.records import Int64Array

LIMIT = 2**63 - 1
CASES = [
    pytest.param([], 0, id="nothing"),
    pytest.param([0], 0, id="zero"),
    pytest.param([LIMIT], LIMIT, id="the limit"),
    pytest.param([LIMIT - 1, 1], LIMIT, id="up to the limit"),
    pytest.param([2**62, 2**62 - 1], LIMIT, id="two halves"),
    pytest.param([LIMIT, 1], None, id="one more"),
    pytest.param([LIMIT, LIMIT], None, id="twice the limit"),
    pytest.param([LIMIT, LIMIT, 2], None, id="wrapped round to zero"),
    pytest.param([LIMIT, LIMIT, 9], None, id="wrapped round to a positive one"),
]


def summed(values: list[int]) -> tuple[Int64Array, "np.ndarray[tuple[int], np.dtype[np.float64]]"]:
    """The sum as integers and as floats, beside a sum that is fine."""
    parts = np.array(values, dtype=np.int64)
    return np.array([5, parts.sum()]), np.array([5.0, parts.astype(np.float64).sum()])


@pytest.mark.parametrize(("values", "total"), CASES)
def test_a_billed_sum_beyond_the_limit_is_refused(values: list[int], total: int | None) -> None:
    sums, estimates = summed(values)
    minutes, names = np.array([0, 61]), ["a fine series", "a series"]

    if total is not None:
        assert sums.tolist() == [5, total]
        refuse_wrapped(sums, estimates, minutes, names.__getitem__)
        return
    with pytest.raises(TerminalError) as caught:
        refuse_wrapped(sums, estimates, minutes, names.__getitem__)
    assert str(caught.value) == (
        "a series, minute 1970-01-01T01:01:00Z: expected at most 9223372036854775807 bytes in "
        f"sum, got {sum(values)}; nothing was written, set this counter right at the exporter and "
        "collect again"
    )


def test_the_first_of_several_sums_beyond_the_limit_is_named() -> None:
    beyond, estimates = np.array([LIMIT, LIMIT]) + 1, np.array([2.0**63, 2.0**63])

    with pytest.raises(TerminalError, match=rf"^series 0, .* got {LIMIT + 1};"):
        refuse_wrapped(beyond, estimates, np.array([0, 0]), "series {}".format)


@pytest.mark.parametrize(("values", "total"), CASES)
def test_an_informing_sum_beyond_the_limit_is_cut(values: list[int], total: int | None) -> None:
    expected = LARGEST_SUM if total is None else total

    assert cut_wrapped(*summed(values)).tolist() == [5, expected]


def test_a_sum_of_floats_may_be_off_by_its_rounding() -> None:
    sums, rounded = np.array([2**62]), np.array([2.0**62 + 2**20])

    assert cut_wrapped(sums, rounded).tolist() == [2**62]


@pytest.mark.parametrize(
    ("used_before", "quota", "included"),
    [
        pytest.param(LIMIT, 100, [0, 0], id="a period full of usage"),
        pytest.param(LIMIT - 1, LIMIT, [1, 0], id="one byte left of the largest quota"),
        pytest.param(0, LIMIT, [LIMIT - 7, 7], id="the largest quota, unused"),
        pytest.param(1, LIMIT, [LIMIT - 7, 6], id="the largest quota, one byte used"),
    ],
)
def test_the_quota_is_split_where_usage_and_quantity_together_are_beyond_the_limit(
    used_before: int, quota: int, included: list[int]
) -> None:
    rows = [[0, LIMIT - 7, used_before, quota], [0, 7, used_before, quota]]

    assert split_quota(*np.array(rows, dtype=np.int64).T).tolist() == included
