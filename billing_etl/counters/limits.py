"""Sums of bytes beyond 64 bits, which numpy's integers would wrap in silence.

Integer sums are compared with the same sums of floats: one that wrapped is off by 2^64, far more
than floats are inexact.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from billing_etl.errors import TerminalError
from billing_etl.hours import NS_PER_MINUTE, format_instant_ns
from billing_etl.records import BoolArray, Int64Array

LARGEST_SUM: Final = 2**63 - 1


def refuse_wrapped(
    sums: Int64Array,
    estimates: NDArray[np.float64],
    minutes: Int64Array,
    series_name: Callable[[int], str],
) -> None:
    """For sums that are billed: the hour fails, and no money is made up.

    Args:
        sums, estimates: bytes of a series in a minute, as integers and as floats.
        minutes: the minute of each.
        series_name: names the series at a position.

    Raises:
        TerminalError: a sum is beyond 2^63-1.
    """
    for at in np.flatnonzero(_wrapped(sums, estimates)).tolist():
        total = int(sums[at]) + 2**64 * round(float(estimates[at] - sums[at]) / 2**64)
        raise TerminalError(
            f"{series_name(at)}, minute {format_instant_ns(int(minutes[at]) * NS_PER_MINUTE)}: "
            f"expected at most {LARGEST_SUM} bytes in sum, got {total}; nothing was written, set "
            "this counter right at the exporter and collect again"
        )


def cut_wrapped(sums: Int64Array, estimates: NDArray[np.float64]) -> Int64Array:
    """For sums that only inform: one beyond 2^63-1 is told as 2^63-1."""
    return np.where(_wrapped(sums, estimates), LARGEST_SUM, sums)


def _wrapped(sums: Int64Array, estimates: NDArray[np.float64]) -> BoolArray:
    result: BoolArray = np.abs(sums.astype(np.float64) - estimates) > 2.0**62
    return result
