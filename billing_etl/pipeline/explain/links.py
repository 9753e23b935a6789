"""What must be equal between two neighbours of the chain from the bill down to the samples."""

from collections.abc import Iterable, Sequence
from decimal import Context, Decimal, Inexact, localcontext
from typing import Any, Final, NamedTuple

from billing_etl.counters import FirstKind
from billing_etl.pipeline.explain.samples import SeriesReadings
from billing_etl.store.explain import Row

# Raises instead of rounding; a thousand digits hold any sum of amounts.
EXACT: Final = Context(prec=1000, traps=[Inexact])


class Link(NamedTuple):
    """Two numbers that must be equal; ``differing`` counts parts that are not, such as series."""

    upper: str
    expected: Decimal
    lower: str
    actual: Decimal
    differing: int = 0

    @property
    def holds(self) -> bool:
        return self.expected == self.actual and not self.differing

    def as_dict(self) -> dict[str, Any]:
        with localcontext(EXACT):
            difference = self.actual - self.expected
        return {
            "upper": self.upper,
            "expected": _text(self.expected),
            "lower": self.lower,
            "actual": _text(self.actual),
            "difference": _text(difference),
            "differing": self.differing,
        }


def period_links(
    month: Row, balance: Row, hours: Sequence[Row], postings: Sequence[Row]
) -> list[Link]:
    """Of a billing period. Hours that wait to be rated are left out where it is about money."""
    settled = [row for row in hours if row["rated"] and not row["stale"]]
    charges = [row for row in postings if row["entry_type"] != "credit"]
    with localcontext(EXACT):
        return [
            Link(
                "bytes of the period", Decimal(month["bytes"]),
                "bytes of its hours", _sum(hours, "bytes"),
            ),
            Link(
                "amount of its rated hours", _sum(settled, "amount"),
                "ledger entries of these hours", _sum(settled, "ledger_amount"),
                sum(row["amount"] != row["ledger_amount"] for row in settled),
            ),
            Link(
                "amount of the period", Decimal(month["amount"]),
                "charges and adjustments posted in it", _sum(charges, "amount"),
            ),
            Link(
                "opening balance + credits - charges and adjustments",
                balance["opening_balance"] + balance["credits"] - balance["charges"],
                "balance now", Decimal(balance["balance"]),
            ),
        ]  # fmt: skip


def hour_links(
    hour: Row, entries: Sequence[Row], minutes: Sequence[Row], counters: Sequence[Row]
) -> list[Link]:
    """Of an account-hour whose facts are stored."""
    with localcontext(EXACT):
        links = money_links(hour, entries)
        if hour["rated"] and not hour["stale"]:
            links += [
                Link(
                    "amount of the hour", Decimal(hour["amount"]),
                    "amount of its minutes", _sum(minutes, "amount"),
                ),
                Link(
                    "rated bytes of the hour", Decimal(hour["rated_bytes"]),
                    "rated bytes of its minutes", _sum(minutes, "rated_bytes"),
                ),
            ]  # fmt: skip
        counted = {row["series_id"]: counted_bytes(row) for row in counters}
        used: dict[int, tuple[int, int]] = {}
        for row in minutes:
            up, down = used.get(row["series_id"], (0, 0))
            used[row["series_id"]] = (up + row["uplink_bytes"], down + row["downlink_bytes"])
        links += [
            Link(
                "bytes of the hour", Decimal(hour["bytes"]),
                "bytes of its minutes", _sum(minutes, "total_bytes"),
            ),
            Link(
                "bytes of its minutes", _sum(minutes, "total_bytes"),
                "last reading - counted from + before resets",
                Decimal(sum(sum(each) for each in counted.values() if each)),
                sum(counted[series] != used.get(series, (0, 0)) for series in counted),
            ),
        ]  # fmt: skip
        return links


def money_links(hour: Row, entries: Sequence[Row]) -> list[Link]:
    """Of an account-hour that is rated: what was billed, and what was posted for it."""
    if not hour["rated"] or hour["stale"]:
        return []
    with localcontext(EXACT):
        return [
            Link(
                "net of the ledger entries", _sum(entries, "amount"),
                "amount of the hour", Decimal(hour["amount"]),
            ),
            Link(
                "rated bytes of the ledger entries", _sum(entries, "rated_bytes"),
                "rated bytes of the hour", Decimal(hour["rated_bytes"]),
            ),
        ]  # fmt: skip


def sample_link(minutes: Sequence[Row], samples: Sequence[SeriesReadings]) -> Link:
    """Minutes against what the readings add to them, of the series whose readings were read."""
    read = {each.series_id for each in samples}
    facts = {
        (row["series_id"], row["minute"]): (row["uplink_bytes"], row["downlink_bytes"])
        for row in minutes
        if row["series_id"] in read
    }
    added: dict[tuple[int, int], tuple[int, int]] = {}
    for each in samples:
        for reading in each.readings:
            up, down = added.get((each.series_id, reading.minute), (0, 0))
            added[each.series_id, reading.minute] = (
                up + reading.uplink_bytes,
                down + reading.downlink_bytes,
            )
    keys = facts.keys() | added.keys()
    return Link(
        "bytes of the minutes of series that were read again",
        Decimal(sum(sum(each) for each in facts.values())),
        "differences of their readings",
        Decimal(sum(sum(each) for each in added.values())),
        sum(facts.get(key, (0, 0)) != added.get(key, (0, 0)) for key in keys),
    )


def counted_from(row: Row) -> tuple[int | None, int, int]:
    """Instant and totals that the bytes of a series in an hour are counted from (C4, C7).

    The instant is None where the whole total counts: then the totals are zero.
    """
    kind = FirstKind(row["first_kind"])
    if kind in {FirstKind.BORN, FirstKind.CHARGED}:
        return None, 0, 0
    name = "first" if kind in {FirstKind.BASELINE, FirstKind.IMPLAUSIBLE} else "prev"
    return row[f"{name}_ns"], row[f"{name}_uplink"], row[f"{name}_downlink"]


def counted_bytes(row: Row) -> tuple[int, int] | None:
    """Bytes up and down by the counters of a series in an hour (invariant 1); None: none stored."""
    if row["first_kind"] is None:
        return None
    _, up, down = counted_from(row)
    return (
        row["last_uplink"] - up + row["uplink_before_resets"],
        row["last_downlink"] - down + row["downlink_before_resets"],
    )


def _text(number: Decimal) -> str:
    """Every digit, no zeros behind the last one."""
    return f"{number.normalize(EXACT):f}"


def _sum(rows: Iterable[Row], name: str) -> Decimal:
    return sum((Decimal(row[name] or 0) for row in rows), Decimal(0))
