"""One account's bill, row by row: what the ledger, the ratings, the facts and the counters hold."""

from typing import Any, NamedTuple, TypeAlias

from billing_etl.hours import Hour
from billing_etl.store.attention import rows
from billing_etl.store.database import Connection
from billing_etl.store.sources import TRAFFIC_METER_ID

Row: TypeAlias = dict[str, Any]


class AccountPeriod(NamedTuple):
    """An account and one of its billing periods: what every statement here asks for."""

    account_key: int
    account_uuid: str
    period: Hour
    end: Hour
    anchor_day: int

    def parameters(self, hour: Hour | None = None) -> dict[str, Any]:
        """Of a statement, by name."""
        return {
            "account_key": self.account_key,
            "account": self.account_uuid,
            "meter_id": TRAFFIC_METER_ID,
            "period_hour": self.period.index,
            "period_end": self.end.index,
            "anchor_day": self.anchor_day,
            "hour": None if hour is None else hour.index,
        }


def begin(connection: Connection) -> None:
    """Everything that follows in the transaction reads one moment and changes nothing."""
    connection.execute("set transaction isolation level repeatable read, read only")


def account(connection: Connection, account_uuid: str) -> Row | None:
    """Key and balance of an account, and what makes the balance up; None: it is not known."""
    found = rows(connection, "explain/account", {"account": account_uuid})
    return found[0] if found else None


def month(connection: Connection, of: AccountPeriod) -> Row | None:
    """Bytes, quota and money of the period as ``billing.account_months`` says it."""
    found = rows(connection, "explain/month", of.parameters())
    return found[0] if found else None


def postings(connection: Connection, of: AccountPeriod) -> list[Row]:
    """What is posted in the period, by entry type and period that the entries belong to."""
    return _whole(rows(connection, "explain/postings", of.parameters()), "rated_bytes")


def hours(connection: Connection, of: AccountPeriod) -> list[Row]:
    """The account-hours of the period, oldest first."""
    found = rows(connection, "explain/hours", of.parameters())
    return _whole(found, "used_before", "ledger_rated_bytes")


def entries(connection: Connection, of: AccountPeriod, hour: Hour) -> list[Row]:
    """The ledger entries of an account-hour."""
    return rows(connection, "explain/entries", of.parameters(hour))


def minutes(connection: Connection, of: AccountPeriod, hour: Hour) -> list[Row]:
    """The rated facts of an account-hour, in the order in which they consume the quota (R3)."""
    return rows(connection, "explain/minutes", of.parameters(hour))


def counters(connection: Connection, of: AccountPeriod, hour: Hour) -> list[Row]:
    """First and last counters of each series of an account-hour, and what they began from."""
    found = rows(connection, "explain/counters", of.parameters(hour))
    return _whole(found, "uplink_before_resets", "downlink_before_resets")


def _whole(found: list[Row], *names: str) -> list[Row]:
    """PostgreSQL sums whole numbers as numeric: they may grow beyond 63 bits."""
    return [row | {name: int(row[name]) for name in names} for row in found]
