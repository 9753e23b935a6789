"""The readings of one series in an hour, each with the bytes that it adds: C4, C5 and C7 by hand.

Collecting does the same on whole columns; this is for a person who recomputes a bill, one
subtraction a line.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from billing_etl.counters.first_deltas import FirstKind
from billing_etl.hours import NS_PER_MINUTE

_WHOLE_TOTAL: Final = {FirstKind.RESET, FirstKind.BORN, FirstKind.CHARGED}


class Totals(NamedTuple):
    """What a pair of counters read at an instant, in bytes."""

    instant_ns: int
    uplink: int
    downlink: int


class Reading(NamedTuple):
    """A reading and the bytes that it adds to its minute.

    ``how``: ``difference`` to the reading before; ``reset``: a counter fell, so both count from
    zero; ``first sight``: the whole total; ``baseline``: nothing.
    """

    totals: Totals
    uplink_bytes: int
    downlink_bytes: int
    how: str

    @property
    def minute(self) -> int:
        """The minute that the bytes belong to (C8)."""
        return self.totals.instant_ns // NS_PER_MINUTE


def readings(
    served: Iterable[Totals], first_kind: FirstKind, predecessor: Totals | None
) -> list[Reading]:
    """The readings in time order with their bytes.

    Args:
        served: of one series in one hour; of one instant the larger total counts (C3).
        first_kind: how the first delta was judged when the hour was collected.
        predecessor: the reading before the hour, None where there is none.
    """
    larger: dict[int, Totals] = {}
    for each in served:
        known = larger.get(each.instant_ns, each)
        larger[each.instant_ns] = Totals(
            each.instant_ns,
            max(each.uplink, known.uplink),
            max(each.downlink, known.downlink),
        )
    found: list[Reading] = []
    before = predecessor
    for instant_ns in sorted(larger):
        now = larger[instant_ns]
        if before is None or (not found and first_kind not in {FirstKind.DELTA, FirstKind.RESET}):
            counts = first_kind in _WHOLE_TOTAL
            how = "first sight" if counts else "baseline"
            found.append(Reading(now, now.uplink * counts, now.downlink * counts, how))
        elif now.uplink < before.uplink or now.downlink < before.downlink:
            found.append(Reading(now, now.uplink, now.downlink, "reset"))
        else:
            uplink, downlink = now.uplink - before.uplink, now.downlink - before.downlink
            found.append(Reading(now, uplink, downlink, "difference"))
        before = now
    return found
