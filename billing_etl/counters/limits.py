"""Sums of bytes beyond 64 bits, which numpy's integers would wrap in silence.

Integer sums are compared with the same sums of floats: one that wrapped is off by 2^64, far more
than floats are inexact.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from billing_etl.errors import TerminalError
from billing_etl.records import BoolArray, Int64Array

LARGEST_SUM: Final = 2**63 - 1


def refuse_wrapped(sums: Int64Array, estimates: NDArray[np.float64], what: str) -> None:
    """For sums that are billed: the hour fails, and no money is made up.

    Raises:
        TerminalError: a sum is beyond 2^63-1.
    """
    if _wrapped(sums, estimates).any():
        raise TerminalError(
            f"{what}: expected at most {LARGEST_SUM} bytes in sum, got more; nothing was written, "
            "the counters that the exporter serves for this hour cannot be right"
        )


def cut_wrapped(sums: Int64Array, estimates: NDArray[np.float64]) -> Int64Array:
    """For sums that only inform: one beyond 2^63-1 is told as 2^63-1."""
    return np.where(_wrapped(sums, estimates), LARGEST_SUM, sums)


def _wrapped(sums: Int64Array, estimates: NDArray[np.float64]) -> BoolArray:
    result: BoolArray = np.abs(sums.astype(np.float64) - estimates) > 2.0**62
    return result
