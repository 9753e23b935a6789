"""What was used and what it cost, summed in the database for people."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from billing_etl.hours import HourRange
from billing_etl.store.database import Connection, sql


class Sums(NamedTuple):
    """Bytes and money under one key; ``amount`` is None while nothing is rated."""

    key: str
    uplink_bytes: int
    downlink_bytes: int
    total_bytes: int
    included_bytes: int
    rated_bytes: int
    amount: Decimal | None

    @property
    def unrated_bytes(self) -> int:
        """Bytes that no price was applied to yet."""
        return self.total_bytes - self.included_bytes - self.rated_bytes


class Quota(NamedTuple):
    """Included quota of an account in a billing period, in bytes (R3)."""

    account_uuid: str
    month: str
    quota_bytes: int
    used_bytes: int
    remaining_bytes: int


class Usage(NamedTuple):
    """The first keys, how many there are, and the sums over all of them."""

    rows: list[Sums]
    keys: int
    total: Sums


def usage(
    connection: Connection,
    by: str,
    hours: HourRange,
    *,
    account: str | None,
    region: str | None,
    anchor: int,
    limit: int | None,
) -> Usage:
    """Usage by a key: the newest first of a time, the largest first of anything else.

    Args:
        connection: a transaction.
        by: ``hour``, ``day``, ``month``, ``account``, ``region`` or ``inbound``.
        hours: the range.
        account: only of this account.
        region: only of this region.
        anchor: day of the month on which billing periods start.
        limit: give so many keys; None gives all.
    """
    found = connection.execute(
        sql("usage/inbound" if by == "inbound" else "usage/grouped").encode(),
        {
            "by": by,
            "from_hour": hours.start.index,
            "to_hour": hours.end.index,
            "account": account,
            "region": region,
            "anchor_day": anchor,
            "limit": limit,
        },
    ).fetchall()
    if not found:
        return Usage([], 0, Sums("", 0, 0, 0, 0, 0, None))
    return Usage([_sums(*row[:7]) for row in found], int(found[0][7]), _sums("", *found[0][8:]))


def _sums(key: str, *numbers: Any) -> Sums:
    amount = numbers[-1]
    uplink, downlink, total, included, rated = map(int, numbers[:-1])
    exact = None if amount is None else Decimal(amount)
    return Sums(key, uplink, downlink, total, included, rated, exact)


def quotas(connection: Connection, hours: HourRange, accounts: Sequence[str] | None) -> list[Quota]:
    """Quotas of accounts, or of all, in the billing periods that a range touches."""
    rows = connection.execute(
        sql("usage/quotas").encode(),
        {
            "accounts": None if accounts is None else list(accounts),
            "from_hour": hours.start.index,
            "to_hour": hours.end.index,
        },
    )
    return [Quota(str(row[0]), str(row[1]), *map(int, row[2:])) for row in rows]
