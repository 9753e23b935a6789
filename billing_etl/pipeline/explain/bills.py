"""What an account was billed for a period, hour by hour, and for an hour, down to its counters."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from billing_etl.counters import FirstKind
from billing_etl.errors import UsageError
from billing_etl.hours import Hour, format_instant_ns, minute_start, parse_date
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.explain.links import (
    Link,
    counted_bytes,
    counted_from,
    hour_links,
    money_links,
    period_links,
    sample_link,
)
from billing_etl.pipeline.explain.samples import SeriesReadings, read_samples
from billing_etl.rating import next_period, period_of
from billing_etl.store import archives, erasures, explain, ratings
from billing_etl.store.database import Connection
from billing_etl.store.explain import AccountPeriod, Row

_SEEN_WITHOUT_BYTES: Final[Row] = {
    "bytes": 0, "used_before": 0, "rated": False, "stale": False, "included_bytes": 0,
    "rated_bytes": 0, "amount": Decimal(0), "entries": 0, "ledger_rated_bytes": 0,
    "ledger_amount": Decimal(0),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PeriodBill:
    """A billing period of an account.

    Attributes:
        month: bytes, quota and amount as ``billing.account_months`` says it.
        balance: of now, and what makes it up (R6).
        hours: account-hours, each with what was used of the period before it.
        postings: what was posted in the period, by type and the period that it belongs to.
        links: what must be equal.
    """

    of: AccountPeriod
    month: Row
    balance: Row
    hours: list[Row]
    postings: list[Row]
    links: list[Link]

    @property
    def holds(self) -> bool:
        return all(link.holds for link in self.links)

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON: amounts as text, exact; hours and months by name."""
        return {
            **_head(self.of),
            "month": self.month,
            "balance": {name: f"{self.balance[name]:f}" for name in _BALANCE},
            "hours": [row | {"hour": str(Hour(row["hour"]))} for row in self.hours],
            "postings": [row | {"belongs_to": _month(row["belongs_to"])} for row in self.postings],
            "links": [link.as_dict() for link in self.links],
            "holds": self.holds,
        }


_BALANCE: Final = ("opening_balance", "credits", "charges", "balance")


@dataclass(frozen=True, slots=True)
class HourBill:
    """An hour of an account.

    Attributes:
        account_hour: its sums, and what was used of the period before it.
        quota_bytes: included in the period (R3).
        entries: of the ledger.
        minutes: rated facts, in the order in which they consume the quota.
        counters: of each series: first and last reading, and what it began from.
        archived: where its facts lie instead of here, and since when; None: they are here. Then
            minutes and counters are empty, whatever is still stored of them: it is not all.
        samples: what the exporters serve of it now; None: they were not asked.
        errors: why readings of a source cannot be shown.
        links: what must be equal.
    """

    of: AccountPeriod
    hour: Hour
    account_hour: Row
    quota_bytes: int
    entries: list[Row]
    minutes: list[Row]
    counters: list[Row]
    archived: Row | None
    samples: list[SeriesReadings] | None
    errors: list[str]
    links: list[Link]

    @property
    def holds(self) -> bool:
        return all(link.holds for link in self.links)

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON: amounts as text, exact; hours, minutes and instants by name."""
        samples = None if self.samples is None else [each.as_dict() for each in self.samples]
        return {
            **_head(self.of),
            "hour": str(self.hour),
            "quota_bytes": self.quota_bytes,
            "account_hour": self.account_hour | {"hour": str(self.hour)},
            "entries": [
                row | {"period_hour": str(Hour(row["period_hour"]))} for row in self.entries
            ],
            "archived": self.archived,
            "minutes": _minutes(self.minutes, self.account_hour["used_before"]),
            "counters": [_counter(row) for row in self.counters],
            "samples": samples,
            "errors": self.errors,
            "links": [link.as_dict() for link in self.links],
            "holds": self.holds,
        }


def explain_period(engine: Engine, account: str, month: str | None) -> PeriodBill:
    """A billing period of an account.

    Args:
        engine: settings and database.
        account: its uuid.
        month: in which the period starts, such as ``2026-04``; None: the running period.

    Raises:
        UsageError: the account is no uuid or not known, there is no such month, or nothing was
            used or posted in it.
    """
    with _reading(engine) as connection:
        anchor = ratings.anchor_day(connection, engine.settings)
        period = _period(month, anchor)
        of, balance = _account(connection, account, period, anchor)
        found = explain.month(connection, of)
        hours = explain.hours(connection, of)
        postings = explain.postings(connection, of)
    if found is None:
        raise UsageError(
            f"explain: expected a billing period with usage or postings of account "
            f"{of.account_uuid}, got {period.start:%Y-%m} without any; name another --period"
        )
    links = period_links(found, balance, hours, postings)
    return PeriodBill(of, found, balance, hours, postings, links)


def explain_hour(engine: Engine, account: str, hour: Hour, *, samples: bool = False) -> HourBill:
    """An hour of an account.

    Args:
        engine: settings and database.
        account: its uuid.
        hour: which one.
        samples: ask the exporters for the readings, too, as far as they still serve them.

    Raises:
        UsageError: the account is no uuid or not known, or it was not seen in the hour.
    """
    with _reading(engine) as connection:
        anchor = ratings.anchor_day(connection, engine.settings)
        of, _ = _account(connection, account, period_of(hour, anchor), anchor)
        month = explain.month(connection, of)
        hours = [row for row in explain.hours(connection, of) if row["hour"] == hour.index]
        entries = explain.entries(connection, of, hour)
        places, since = archives.places_of_hour(connection, hour)
        archived = {"since": f"{since:%Y-%m-%dT%H:%M:%SZ}", "places": places} if since else None
        minutes = [] if archived else explain.minutes(connection, of, hour)
        counters = [] if archived else explain.counters(connection, of, hour)
        stored_name = erasures.stored_name(connection)
    if not (hours or entries or counters):
        where = f", whose minutes are archived at {', '.join(places)}" if archived else ""
        raise UsageError(
            f"explain: expected an hour in which account {of.account_uuid} was seen, got "
            f"{hour}{where}; without --hour all hours of a period are listed"
        )
    account_hour = hours[0] if hours else _SEEN_WITHOUT_BYTES
    if archived:
        links = money_links(account_hour, entries)
    else:
        links = hour_links(account_hour, entries, minutes, counters)
    read: list[SeriesReadings] | None = None
    errors: list[str] = []
    if samples:
        read, errors = read_samples(engine, hour, of.account_uuid, counters, stored_name)
        links += [sample_link(minutes, read)] if read else []
    quota = 0 if month is None else int(month["quota"])
    return HourBill(
        of, hour, account_hour, quota, entries, minutes, counters, archived, read, errors, links
    )


@contextmanager
def _reading(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        explain.begin(connection)
        yield connection


def _period(month: str | None, anchor: int) -> Hour:
    if month is None:
        return period_of(Hour.of(datetime.now(UTC)), anchor)
    try:
        return Hour.of(parse_date(month, "%Y-%m").replace(day=anchor))
    except ValueError:
        raise UsageError(f"explain: expected a period such as 2026-04, got {month!r}") from None


def _account(
    connection: Connection, text: str, period: Hour, anchor: int
) -> tuple[AccountPeriod, Row]:
    """The account in a period, and what makes up its balance."""
    try:
        account_uuid = str(uuid.UUID(text))
    except ValueError:
        raise UsageError(f"explain: expected an account uuid, got {text!r}") from None
    row = explain.account(connection, account_uuid)
    if row is None:
        raise UsageError(
            f"explain: expected an account that was seen, got {account_uuid}; "
            "`billing-etl usage --by account` lists those that used something"
        )
    end = next_period(period, anchor)
    return AccountPeriod(row["account_key"], account_uuid, period, end, anchor), row


def _head(of: AccountPeriod) -> dict[str, Any]:
    return {
        "account_uuid": of.account_uuid,
        "period": f"{of.period.start:%Y-%m}",
        "from": str(of.period),
        "to": str(of.end),
    }


def _month(hour: int | None) -> str | None:
    return None if hour is None else f"{Hour(hour).start:%Y-%m}"


def _minutes(rows: list[Row], used_before: int) -> list[Row]:
    """The facts, each with what was used of the period before it (R3)."""
    numbered = []
    for row in rows:
        minute = f"{minute_start(row['minute']):%Y-%m-%dT%H:%MZ}"
        numbered.append(row | {"minute": minute, "used_before": used_before})
        used_before += row["total_bytes"]
    return numbered


def _counter(row: Row) -> Row:
    """First and last reading of a series, what they are counted from, and the bytes they say."""
    names = ("series_id", "source_id", "env", "node_id", "inbound_tag", "region")
    shown = {name: row[name] for name in names}
    counted = counted_bytes(row)
    if counted is None:
        return shown | {"began_as": None}
    from_ns, from_up, from_down = counted_from(row)
    return shown | {
        "began_as": FirstKind(row["first_kind"]).name.lower(),
        "counted_from": None if from_ns is None else format_instant_ns(from_ns),
        "uplink_from": from_up,
        "downlink_from": from_down,
        "first_at": format_instant_ns(row["first_ns"]),
        "uplink_first": row["first_uplink"],
        "downlink_first": row["first_downlink"],
        "resets": row["resets"],
        "uplink_before_resets": row["uplink_before_resets"],
        "downlink_before_resets": row["downlink_before_resets"],
        "last_at": format_instant_ns(row["last_ns"]),
        "uplink_last": row["last_uplink"],
        "downlink_last": row["last_downlink"],
        "uplink_bytes": counted[0],
        "downlink_bytes": counted[1],
        "collected_snapshots": row["collected_snapshots"],
    }
