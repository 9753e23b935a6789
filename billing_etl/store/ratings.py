"""Price book, ratings and ledger in the database."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import numpy as np
from psycopg import sql as composed

from billing_etl.errors import UsageError
from billing_etl.hours import Hour, HourRange
from billing_etl.rating import PriceBook, PriceVersion, Rate, next_period, period_of
from billing_etl.records import BoolArray, Int64Array
from billing_etl.settings import Settings
from billing_etl.store.columns import (
    Numbers,
    Rows,
    empty_rows,
    fetch_rows,
    minute_bounds,
    sorted_rows,
    stage_rows,
)
from billing_etl.store.database import Connection, one_row, sql, take_lock
from billing_etl.store.sources import TRAFFIC_METER_ID

RATED_FACT: Final = np.dtype(
    [
        ("position", "i4"),
        ("series_id", "i4"),
        ("minute", "i4"),
        ("quantity", "i8"),
        ("included_quantity", "i8"),
        ("rate_id", "i4"),
    ]
)
RATING: Final = np.dtype(
    [("series_id", "i4"), ("minute", "i4"), ("included_quantity", "i8"), ("rate_id", "i4")]
)
_USED: Final = np.dtype([("used", "i8"), ("account_key", "i4"), ("is_final", "i2")])
# How long collecting waits to rate what it writes; a later run of `rate` does it as well.
SHORT_RATING_WAIT: Final = "2s"
# Account-hours settled in one statement.
POSTED_AT_ONCE: Final = 5_000


class AccountHour(NamedTuple):
    """An account-hour to rate, with the first hour of its billing period."""

    account_key: int
    hour: Hour
    period: Hour


class SeriesNames(NamedTuple):
    """What orders and prices the facts of a series (R2, R3)."""

    node_id: str
    inbound_tag: str
    env: str
    source_id: str
    account_uuid: str


class Posted(NamedTuple):
    """Ledger entries appended, and the sum of their amounts."""

    charges: int
    adjustments: int
    amount: Decimal


def lock_rating(connection: Connection, who: str = "ratings and ledger") -> None:
    """Makes this transaction the one rating writer (R4).

    Args:
        connection: the transaction.
        who: what is kept waiting.

    Raises:
        RetryableError: another run is still rating after the lock wait.
    """
    take_lock(
        connection,
        "select pg_advisory_xact_lock(hashtext('billing_etl rating'))",
        (),
        who=who,
        waits_for="another run that rates, changes prices or regions, credits or closes a period",
    )


def try_lock_rating(connection: Connection, *, may_wait: bool) -> bool:
    """Makes this transaction the one rating writer (R4), unless another is, or stays it a while."""
    wait = SHORT_RATING_WAIT if may_wait else None
    (taken,) = one_row(connection, sql("rate/try_lock"), {"wait": wait})
    return bool(taken)


def _seeds(settings: Settings) -> dict[str, Decimal | None]:
    return {
        "PRICE_PER_BYTE": settings.price_per_byte,
        "INITIAL_INCLUDED_QUOTA_BYTES": Decimal(settings.initial_included_quota_bytes),
        "INITIAL_BALANCE": settings.initial_balance,
        "BILLING_PERIOD_ANCHOR_DAY": Decimal(settings.billing_period_anchor_day),
    }


def _seeded(connection: Connection) -> dict[str, Decimal]:
    return {
        str(name): Decimal(value)
        for name, value in connection.execute(
            "select name, value from billing_core.seeded_settings"
        )
    }


def agrees_with_seeds(connection: Connection, settings: Settings) -> bool:
    """Whether ``seed`` was done and would neither do anything nor refuse."""
    known = _seeded(connection)
    return all(
        name in known and known[name] == value
        for name, value in _seeds(settings).items()
        if value is not None
    )


def seed(connection: Connection, settings: Settings, run_id: int) -> None:
    """Takes the environment's price, quota, balance and period start once (R2).

    Raises:
        UsageError: a value differs from the one taken, or no price is known at all.
    """
    values, known = _seeds(settings), _seeded(connection)
    for name, value in values.items():
        if value is None:
            continue
        if name in known and known[name] != value:
            raise UsageError(
                f"{name}: expected {known[name]} as first taken, got {value}; prices and quotas "
                "change by a dated version, see `billing-etl price publish`"
            )
        if name not in known:
            connection.execute(
                "insert into billing_core.seeded_settings (name, value) values (%s, %s)",
                (name, str(value)),
            )
    (versions,) = one_row(
        connection, "select count(*) from billing_core.price_versions where scope = 'default'", {}
    )
    if versions:
        return
    if settings.price_per_byte is None:
        raise UsageError(
            "PRICE_PER_BYTE: expected a decimal, as the price book is empty, got nothing; set it, "
            "or publish a version with `billing-etl price publish FILE`"
        )
    connection.execute(
        "insert into billing_core.price_versions (price_version, meter_id, scope, scope_key,"
        " from_minute, price_per_unit, included_quota, run_id)"
        " values ('initial', %s, 'default', '', 0, %s, %s, %s)",
        (
            TRAFFIC_METER_ID,
            settings.price_per_byte,
            settings.initial_included_quota_bytes,
            run_id,
        ),
    )


def anchor_day(connection: Connection, settings: Settings) -> int:
    """The day of the month on which billing periods start, as first taken."""
    row = connection.execute(
        "select value from billing_core.seeded_settings where name = 'BILLING_PERIOD_ANCHOR_DAY'"
    ).fetchone()
    return int(row[0]) if row else settings.billing_period_anchor_day


def price_versions(connection: Connection) -> list[PriceVersion]:
    """Every published version of the traffic meter."""
    rows = connection.execute(sql("rate/price_versions").encode(), {"meter_id": TRAFFIC_METER_ID})
    return [
        PriceVersion(
            price_version_id=row[0],
            price_version=row[1],
            scope=row[2],
            scope_key=row[3],
            from_minute=row[4],
            price_per_unit=row[5],
            included_quota=row[6],
            region_multipliers={name: Decimal(text) for name, text in row[7].items()},
            line_multipliers={name: Decimal(text) for name, text in row[8].items()},
            peak_multiplier=row[9],
            offpeak_multiplier=row[10],
            peak_time_zone=row[11],
            peak_hours=tuple(row[12]),
        )
        for row in rows
    ]


def price_book(
    connection: Connection, default_region: str, source_id: str | None = None
) -> PriceBook:
    """Prices, plan members and regions as published; the regions of one source, or of all."""
    members = connection.execute(
        "select a.account_uuid::text, m.from_minute, m.plan"
        " from billing_core.plan_members m join billing_core.accounts a using (account_key)"
    ).fetchall()
    regions = connection.execute(
        "select s.source_id, r.from_minute, r.region"
        " from billing_core.source_regions r join billing_core.sources s using (source_key)"
        " where %(source_id)s::text is null or s.source_id = %(source_id)s",
        {"source_id": source_id},
    ).fetchall()
    return PriceBook(
        price_versions(connection),
        [(str(account), int(minute), str(plan)) for account, minute, plan in members],
        [(str(source), int(minute), str(region)) for source, minute, region in regions],
        default_region,
    )


def pick(connection: Connection, hours: HourRange, anchor: int) -> list[AccountHour]:
    """Locks what to rate: unrated in the range, stale anywhere, and what follows (R4)."""
    rows = take_lock(
        connection,
        sql("rate/pick"),
        {
            "from_hour": hours.start.index,
            "to_hour": hours.end.index,
            "anchor_day": anchor,
            "meter_id": TRAFFIC_METER_ID,
        },
        who="rate",
        waits_for="a run that collects the same account-hours",
    )
    return [AccountHour(int(key), Hour(int(hour)), Hour(int(period))) for key, hour, period in rows]


def facts_of(connection: Connection, picked: Sequence[AccountHour]) -> Rows:
    """Facts of account-hours; ``position`` counts them from 1."""
    if not picked:
        return empty_rows(RATED_FACT)
    bounds = {
        "from_minute": min(item.hour for item in picked).first_minute,
        "until_minute": max(item.hour for item in picked).next.first_minute,
    }
    return fetch_rows(connection, sql("rate/facts"), _keys(picked) | bounds, RATED_FACT)


def used_before(connection: Connection, picked: Sequence[AccountHour]) -> list[int]:
    """Usage of each account-hour's account before the hour in its period (R4)."""
    parameters = _keys(picked) | {"period_hours": Numbers([item.period.index for item in picked])}
    return [int(row[0]) for row in connection.execute(sql("rate/used_before").encode(), parameters)]


def series_names(connection: Connection, series_ids: Sequence[int]) -> dict[int, SeriesNames]:
    """Names of series."""
    rows = connection.execute(sql("rate/series").encode(), {"series_ids": Numbers(series_ids)})
    return {int(row[0]): SeriesNames(*map(str, row[1:])) for row in rows}


def rate_ids(connection: Connection, rates: Iterable[Rate | None]) -> dict[Rate | None, int]:
    """The ids of rates, made where missing, all in one order; 0 for none."""
    ordered = sorted({rate for rate in rates if rate is not None})
    parameters = {
        "price_version_ids": [rate.price_version_id for rate in ordered],
        "prices": [rate.price_per_unit for rate in ordered],
        "regions": [rate.region_multiplier for rate in ordered],
        "lines": [rate.line_multiplier for rate in ordered],
        "times": [rate.time_multiplier for rate in ordered],
    }
    found = connection.execute(sql("rate/rate_ids").encode(), parameters).fetchall()
    if len(found) < len(ordered):
        connection.execute(sql("rate/add_rates").encode(), parameters)
        found = connection.execute(sql("rate/rate_ids").encode(), parameters).fetchall()
    return {None: 0} | {rate: int(row[0]) for rate, row in zip(ordered, found, strict=True)}


def region_ids(connection: Connection, regions: Iterable[str]) -> dict[str, int]:
    """The ids of regions, made where missing, all in one order."""
    wanted = {"regions": sorted(set(regions))}
    rows = connection.execute(sql("rate/region_ids").encode(), wanted).fetchall()
    if len(rows) < len(wanted["regions"]):  # another run has made one at the same moment
        rows = connection.execute(sql("rate/region_ids").encode(), wanted).fetchall()
    return {str(region): int(region_id) for region, region_id in rows}


def book_mark(connection: Connection, source_id: str) -> tuple[Any, ...]:
    """Something that differs whenever the price book does, as far as it is about a source."""
    parameters = {"meter_id": TRAFFIC_METER_ID, "source_id": source_id}
    return tuple(one_row(connection, sql("rate/book_mark"), parameters))


def used_and_final(
    connection: Connection, account_keys: Sequence[int], source_key: int, hour: Hour, anchor: int
) -> tuple[Int64Array, BoolArray]:
    """Usage of accounts before an hour in its period, and whether that is final (R4).

    In the order of the keys, which are sorted.
    """
    period = period_of(hour, anchor)
    rows = fetch_rows(
        connection,
        sql("rate/used_and_final"),
        {
            "account_keys": Numbers(account_keys),
            "source_key": source_key,
            "hour": hour.index,
            "period_hour": period.index,
            "next_period_hour": next_period(period, anchor).index,
            "meter_id": TRAFFIC_METER_ID,
        },
        _USED,
    )
    rows = sorted_rows(rows, ("account_key",))
    return rows["used"].copy(), rows["is_final"] != 0


def write_ratings(connection: Connection, changed: Rows) -> None:
    """Writes included quantities and rates of facts."""
    if len(changed):
        staged = stage_rows(connection, "staged_ratings", "billing_core.facts", changed)
        connection.execute(
            composed.SQL(sql("rate/update_facts")).format(staged=staged),
            minute_bounds(changed["minute"]),
        )


def post(
    connection: Connection,
    picked: Sequence[AccountHour],
    sums: dict[str, list[int]],
    used: Sequence[int],
    regions: Sequence[int],
    anchor: int,
    reason: str,
    run_id: int,
) -> Posted:
    """Settles account-hours and appends what they owe to the ledger (R5-R7).

    Args:
        picked: the account-hours, in key order.
        sums: parallel lists ``position`` (into ``picked``), ``rate_id``, ``included``, ``rated``.
        used: usage before each account-hour in its period (R4).
        regions: id of the one region of each account-hour's facts; 0: several or none.
        anchor: day of the month on which periods start.
        reason: why an adjustment is due.
        run_id: the run.
    """
    of = [picked[position] for position in sums["position"]]
    positions = np.asarray(sums["position"], dtype=np.int64)
    charges, adjustments, amount = one_row(
        connection,
        sql("rate/post"),
        _keys(of)
        | {
            "used_before": Numbers(np.asarray(used, dtype=np.int64)[positions]),
            "region_ids": Numbers(np.asarray(regions, dtype=np.int64)[positions]),
            "rate_ids": Numbers(sums["rate_id"]),
            "included": Numbers(sums["included"]),
            "rated": Numbers(sums["rated"]),
            "anchor_day": anchor,
            "reason": reason,
            "run_id": run_id,
        },
    )
    return Posted(int(charges), int(adjustments), Decimal(amount))


def _keys(items: Sequence[AccountHour]) -> dict[str, Any]:
    return {
        "account_keys": Numbers([item.account_key for item in items]),
        "hours": Numbers([item.hour.index for item in items]),
        "meter_id": TRAFFIC_METER_ID,
    }
