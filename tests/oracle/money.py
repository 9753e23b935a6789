"""R1 to R6: prices, included quota, the net of the ledger and balances, over all facts at once."""

import calendar
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from oracle.terms import EPOCH, Bill, Fact, Rating, Series, Settings


def exact(number: Decimal | int | str) -> Fraction:
    return Fraction(Decimal(number))


def in_force(dated: Iterable[Settings], minute: int) -> Settings | None:
    """The newest entry that begins at or before the minute."""
    begun = [entry for entry in dated if entry["from_minute"] <= minute]
    return max(begun, key=lambda entry: int(entry["from_minute"]), default=None)


def versions_in_force(book: Settings, account: str, minute: int) -> list[Settings]:
    """R2: the versions that apply to an account at a minute: its own, its plan's, the default."""
    member = in_force((m for m in book["plan_members"] if m["account"] == account), minute)
    scopes = [("account", account), ("plan", member["plan"] if member else None), ("default", None)]
    found = []
    for scope, key in scopes:
        if scope == "plan" and key is None:
            continue  # no member, or the membership ended
        of_scope = [v for v in book["versions"] if (v["scope"], v.get("key")) == (scope, key)]
        found.append(in_force(of_scope, minute))
    return [version for version in found if version is not None]


def by_name(named: Mapping[str, Any], name: str | None) -> Any:
    """What is said of a name, else of all others (``*``), else 1."""
    return named.get("*", 1) if name is None or name not in named else named[name]


def multipliers(
    book: Settings, sources: list[Settings], series: Series, minute: int
) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """R2: price per byte, region, line and time multiplier of one fact."""
    version = versions_in_force(book, series.account, minute)[0]
    dated = in_force(
        (r for r in book["source_regions"] if r["source_id"] == series.source_id), minute
    )
    own = next(s.get("region") for s in sources if s["source_id"] == series.source_id)
    region = dated["region"] if dated else own
    zone = ZoneInfo(version.get("peak_time_zone", "UTC"))
    is_peak = (EPOCH + timedelta(minutes=minute)).astimezone(zone).hour in version.get(
        "peak_hours", []
    )
    return (
        exact(version["price_per_byte"]),
        exact(by_name(version.get("region_multipliers", {}), region)),
        exact(by_name(version.get("line_multipliers", {}), series.inbound_tag)),
        exact(version.get("peak_multiplier" if is_peak else "offpeak_multiplier", 1)),
    )


def period_start(minute: int, anchor_day: int) -> int:
    """R3: the first minute of the billing period that contains the minute.

    Decision: an anchor day beyond the end of a month is that month's last day.
    """
    day = EPOCH + timedelta(minutes=minute)

    def begin(year: int, month: int) -> datetime:
        last_day = calendar.monthrange(year, month)[1]
        return datetime(year, month, min(anchor_day, last_day), tzinfo=UTC)

    start = begin(day.year, day.month)
    if start > day:
        start = begin(day.year - (day.month == 1), (day.month - 2) % 12 + 1)
    return (start - EPOCH) // timedelta(minutes=1)


def included_quota(book: Settings, account: str, first_minute: int) -> int:
    """R3: what is in force at the period's first minute.

    Decision: a version that names no quota leaves it to the next wider scope, and at last to the
    book's own ``quota``.
    """
    for version in versions_in_force(book, account, first_minute):
        if version.get("included_quota_bytes") is not None:
            return int(version["included_quota_bytes"])
    return int(book.get("quota", 0))


def rate(
    book: Settings,
    sources: list[Settings],
    facts: Mapping[tuple[Series, int], Fact],
) -> Bill:
    """R1-R6 over all facts at once, in the order in which the included quota is consumed."""
    bill = Bill()

    def consumption_order(key: tuple[Series, int]) -> tuple[Any, ...]:
        series, minute = key
        names = (series.node_id, series.inbound_tag, series.env, series.source_id)
        return (minute, *(name.encode() for name in names))

    for series, minute in sorted(facts, key=consumption_order):
        fact = facts[series, minute]
        first_minute = period_start(minute, book.get("anchor_day", 1))
        period = (series.account, first_minute)
        if period not in bill.quota:
            bill.quota[period] = included_quota(book, *period)
        quota = bill.quota[period]
        used = bill.quota_used.get(period, 0)
        included = min(fact.up + fact.down, quota - used)
        rated = fact.up + fact.down - included
        bill.quota_used[period] = used + included
        price, region, line, time = multipliers(book, sources, series, minute)
        amount = rated * price * region * line * time
        bill.ratings[series, minute] = Rating(included, rated, price, region, line, time, amount)
        account_hour = (series.account, minute // 60)
        charged, charged_bytes = bill.ledger.get(account_hour, (Fraction(0), 0))
        bill.ledger[account_hour] = (charged + amount, charged_bytes + rated)  # R5, its net

    accounts = {account for account, _ in bill.ledger} | {c["account"] for c in book["credits"]}
    for account in accounts:  # R6
        credited = sum(
            (exact(c["amount"]) for c in book["credits"] if c["account"] == account), Fraction(0)
        )
        charges = sum(
            (amount for (who, _), (amount, _) in bill.ledger.items() if who == account), Fraction(0)
        )
        bill.balance[account] = exact(book.get("opening_balance", 0)) + credited - charges
    return bill
