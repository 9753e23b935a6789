"""Typed records that pass between rooms. They hold data and rules of shape, no behaviour."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Int64Array: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class BadSample:
    """A sample that cannot be used (C11); it is kept in quarantine.

    Attributes:
        reason: which rule it breaks, one of the ``QUARANTINE_REASONS`` of the exporter contract.
        raw_text: the sample as JSON text, without its email.
        account_uuid: lower-case uuid when that much could be read, else None.
        inbound_tag: the tag when that much could be read, else None. When both are known the
            sample counts as presence of its series (C7).
    """

    reason: str
    raw_text: str
    account_uuid: str | None
    inbound_tag: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one node's counters read at one instant.

    ``accounts``, ``inbound_tags``, ``uplink_bytes_total`` and ``downlink_bytes_total`` are
    parallel, one entry per usable sample, in served order. Totals are cumulative bytes, not
    negative, and their sum fits 63 bits. Accounts are lower-case uuids.
    """

    instant_ns: int
    env: str
    node_id: str
    accounts: list[str]
    inbound_tags: list[str]
    uplink_bytes_total: Int64Array | Sequence[int]
    downlink_bytes_total: Int64Array | Sequence[int]
    bad_samples: list[BadSample]

    @property
    def samples(self) -> int:
        """Samples served, usable or not."""
        return len(self.accounts) + len(self.bad_samples)
