"""The parameters of a source that its deltas depend on."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from billing_etl.hours import NS_PER_SECOND
from billing_etl.records import BoolArray, Int64Array

FirstSight: TypeAlias = Literal["auto", "charge", "baseline"]


@dataclass(frozen=True, slots=True)
class CounterPolicy:
    """Frozen parameters of delta computation, one per source (C7, C9, C12)."""

    interval_seconds: int = 60
    first_sight: FirstSight = "auto"
    max_bits_per_second: int = 1_000_000_000

    @property
    def gap_ns(self) -> int:
        """More than this between two samples is a gap: 2.5 intervals (C9)."""
        return self.interval_seconds * NS_PER_SECOND * 5 // 2

    def exceeds_rate(self, quantity_bytes: Int64Array, elapsed_ns: Int64Array) -> BoolArray:
        """Which quantities could not have flowed in their time at ``max_bits_per_second`` (C7).

        The comparison is exact: floats only pick the candidates, integers decide.
        """
        limit = self.max_bits_per_second * elapsed_ns.astype(np.float64)
        close = quantity_bytes.astype(np.float64) * (8.0 * NS_PER_SECOND) > limit * (1 - 1e-9)
        exceeds = np.zeros(len(quantity_bytes), dtype=np.bool_)
        for index in np.flatnonzero(close):
            bits_ns = int(quantity_bytes[index]) * 8 * NS_PER_SECOND
            exceeds[index] = bits_ns > self.max_bits_per_second * int(elapsed_ns[index])
        return exceeds
