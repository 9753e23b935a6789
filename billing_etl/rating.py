"""Prices and the included quota: which rate a fact gets and how it splits (R1-R4). Pure.

Quantities are int64 in the meter's unit (bytes); prices and multipliers are exact decimals that
are only looked up here. Amounts are multiplied in PostgreSQL's exact ``numeric``.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np

from billing_etl.errors import UsageError
from billing_etl.hours import Hour, minute_start
from billing_etl.records import Int64Array

Scope: TypeAlias = Literal["default", "plan", "account"]
ONE: Final = Decimal(1)
# What a version calls every region or inbound tag that it does not name.
OTHERS: Final = "*"


# Of prices and amounts that a person writes: what a slip of the pen makes is no money.
_MOST_DIGITS: Final = 40


def is_exact(value: Decimal) -> bool:
    """Whether a number that a person wrote is stored and multiplied exactly (R1).

    It lies between 1e-40 and 1e40, or is 0, and has at most eighty decimals.
    """
    return value.is_finite() and (
        abs(value.adjusted()) <= _MOST_DIGITS
        and int(value.as_tuple().exponent) >= -2 * _MOST_DIGITS
    )


@dataclass(frozen=True, slots=True)
class PriceVersion:
    """A dated, immutable price: applies from a minute until the next version of its scope (R2).

    Attributes:
        price_version: its published name.
        scope_key: the plan, the account's uuid, or empty for the default.
        price_per_unit: price of one byte (of one unit of the meter).
        included_quota: per account and period; None lets the next wider scope decide (R3).
        region_multipliers, line_multipliers: by region and inbound tag; ``*`` is every one that is
            not named, 1 without it.
        peak_hours: local hours (0-23) of ``peak_time_zone`` in which the peak multiplier applies.
    """

    price_version_id: int
    price_version: str
    scope: Scope
    scope_key: str
    from_minute: int
    price_per_unit: Decimal
    included_quota: int | None = None
    region_multipliers: Mapping[str, Decimal] = field(default_factory=dict)
    line_multipliers: Mapping[str, Decimal] = field(default_factory=dict)
    peak_multiplier: Decimal = ONE
    offpeak_multiplier: Decimal = ONE
    peak_time_zone: str = "UTC"
    peak_hours: tuple[int, ...] = ()

    def time_multiplier(self, minute: int) -> Decimal:
        """The peak or off-peak multiplier at a minute, by the local hour of the named zone."""
        local = minute_start(minute).astimezone(_zone(self.peak_time_zone))
        return self.peak_multiplier if local.hour in self.peak_hours else self.offpeak_multiplier


def _named(multipliers: Mapping[str, Decimal], name: str) -> Decimal:
    return multipliers.get(name, multipliers.get(OTHERS, ONE))


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


class Rate(NamedTuple):
    """What a fact is rated with; stored once, referred to by ``rate_id``."""

    price_version_id: int
    price_per_unit: Decimal
    region_multiplier: Decimal
    line_multiplier: Decimal
    time_multiplier: Decimal


class _Dated:
    """Values that apply from a minute until the next one."""

    def __init__(self, entries: Iterable[tuple[int, object]]) -> None:
        ordered = sorted(entries, key=lambda entry: entry[0])
        self.minutes = [minute for minute, _ in ordered]
        self.values = [value for _, value in ordered]

    def at(self, minute: int) -> object | None:
        position = bisect_right(self.minutes, minute)
        return self.values[position - 1] if position else None

    def changes(self, first: int, last: int) -> bool:
        """Whether a value begins after the first minute and not after the last one."""
        return bisect_right(self.minutes, first) < bisect_right(self.minutes, last)


class PriceBook:
    """Looks prices and quotas up by account, then plan, then default (R2, R3)."""

    def __init__(
        self,
        versions: Sequence[PriceVersion],
        plan_members: Iterable[tuple[str, int, str]],
        regions: Iterable[tuple[str, int, str]],
        default_region: str = "default",
    ) -> None:
        """Takes dated facts.

        Args:
            versions: every published version of one meter.
            plan_members: (account uuid, from minute, plan); an empty plan ends a membership.
            regions: (source_id, from minute, region).
            default_region: the region before a source's first dated one.
        """
        scopes: dict[tuple[str, str], list[tuple[int, object]]] = {}
        for version in versions:
            key = (version.scope, version.scope_key)
            scopes.setdefault(key, []).append((version.from_minute, version))
        self._scopes = {key: _Dated(entries) for key, entries in scopes.items()}
        self._plans = _by_name(plan_members)
        self._regions = _by_name(regions)
        self._default_region = default_region

    def versions_for(self, account_uuid: str, minute: int) -> list[PriceVersion]:
        """The versions in force for an account at a minute, narrowest scope first."""
        plan = self._plan(account_uuid, minute)
        keys = [("account", account_uuid), ("default", "")]
        if plan:
            keys.insert(1, ("plan", plan))
        found = (self._scopes[key].at(minute) for key in keys if key in self._scopes)
        return [version for version in found if isinstance(version, PriceVersion)]

    def quota(self, account_uuid: str, period: Hour) -> int:
        """Included quantity of an account: the one in force at the period's first minute (R3)."""
        for version in self.versions_for(account_uuid, period.first_minute):
            if version.included_quota is not None:
                return version.included_quota
        return 0

    def rate(self, account_uuid: str, source_id: str, inbound_tag: str, minute: int) -> Rate:
        """The rate of a fact (R2).

        Raises:
            UsageError: no version is in force at that minute.
        """
        versions = self.versions_for(account_uuid, minute)
        if not versions:
            raise UsageError(
                f"price: expected a version in force at {minute_start(minute):%Y-%m-%dT%H:%MZ}, "
                "got none; publish one with `billing-etl price publish FILE`"
            )
        version = versions[0]
        region = self._region(source_id, minute)
        return Rate(
            version.price_version_id,
            version.price_per_unit,
            _named(version.region_multipliers, region),
            _named(version.line_multipliers, inbound_tag),
            version.time_multiplier(minute),
        )

    def changes_within(self, account_uuid: str, source_id: str, hour: Hour) -> bool:
        """Whether a fact's rate can depend on the minute within the hour."""
        first, last = hour.first_minute, hour.first_minute + 59
        in_force = self.versions_for(account_uuid, first)
        dated = [
            self._plans.get(account_uuid),
            self._regions.get(source_id),
            # A version of a scope that had none before is found here, too.
            self._scopes.get(("account", account_uuid)),
            self._scopes.get(("default", "")),
            self._scopes.get(("plan", self._plan(account_uuid, first))),
        ]
        if any(entry.changes(first, last) for entry in dated if entry is not None):
            return True
        return any(
            version.peak_hours and _local_hour(version, first) != _local_hour(version, last)
            for version in in_force
        )

    def rates_within(
        self, account_uuid: str, source_id: str, inbound_tag: str, hour: Hour
    ) -> list[Rate | None]:
        """The rate of an hour's facts: one, or one per minute where it can depend on the minute.

        None where no version is in force.
        """
        changes = self.changes_within(account_uuid, source_id, hour)
        minutes = range(hour.first_minute, hour.first_minute + (60 if changes else 1))
        return [
            self.rate(account_uuid, source_id, inbound_tag, minute)
            if self.versions_for(account_uuid, minute)
            else None
            for minute in minutes
        ]

    def region_within(self, source_id: str, hour: Hour) -> str | None:
        """The region of a source, where it is one and the same in all of the hour."""
        dated = self._regions.get(source_id)
        if dated and dated.changes(hour.first_minute, hour.first_minute + 59):
            return None
        return self._region(source_id, hour.first_minute)

    def _region(self, source_id: str, minute: int) -> str:
        dated = self._regions.get(source_id)
        return str((dated and dated.at(minute)) or self._default_region)

    def is_priced_alone(self, account_uuid: str) -> bool:
        """Whether anything is published for the account itself; all others are priced alike."""
        return account_uuid in self._plans or ("account", account_uuid) in self._scopes

    def _plan(self, account_uuid: str, minute: int) -> str:
        members = self._plans.get(account_uuid)
        return str(members.at(minute) or "") if members else ""


def _local_hour(version: PriceVersion, minute: int) -> int:
    return minute_start(minute).astimezone(_zone(version.peak_time_zone)).hour


def _by_name(entries: Iterable[tuple[str, int, str]]) -> dict[str, _Dated]:
    grouped: dict[str, list[tuple[int, object]]] = {}
    for name, minute, value in entries:
        grouped.setdefault(name, []).append((minute, value))
    return {name: _Dated(values) for name, values in grouped.items()}


def period_of(hour: Hour, anchor_day: int) -> Hour:
    """First hour of the billing period that contains an hour: an anchor day, UTC (R3)."""
    start = hour.start
    year, month = start.year, start.month
    if start.day < anchor_day:
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
    return Hour.of(datetime(year, month, anchor_day, tzinfo=start.tzinfo))


def next_period(period: Hour, anchor_day: int) -> Hour:
    """First hour of the billing period after the one that begins with an hour."""
    return period_of(Hour(period.index + 32 * 24), anchor_day)


def split_quota(
    group: Int64Array, quantity: Int64Array, used_before: Int64Array, quota: Int64Array
) -> Int64Array:
    """Included part of each fact: the quota goes to facts in their given order (R3, R4).

    Args:
        group: what shares one carry (an account's hour), in runs of equal values.
        quantity: per fact.
        used_before: per fact, its group's usage before the first fact of the run, in the period.
        quota: per fact, its account's quota in the period.

    Returns:
        Included quantity per fact; the rest is rated.
    """
    if not len(group):
        return quantity
    starts = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    total = np.cumsum(quantity)
    before_run = np.repeat(total[starts] - quantity[starts], np.diff(np.append(starts, len(group))))
    after = total - before_run
    # What is left, and not the usage of the period, which 64 bits may not hold.
    left = quota - np.minimum(used_before, quota)
    included: Int64Array = np.minimum(after, left) - np.minimum(after - quantity, left)
    return included
