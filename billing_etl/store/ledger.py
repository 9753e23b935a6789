"""Ledger entries not made by rating, closed periods, and what a run did to balances."""

from decimal import Decimal
from typing import NamedTuple

from billing_etl.hours import Hour
from billing_etl.store.database import Connection, one_row, sql
from billing_etl.store.sources import register_accounts


class AccountChange(NamedTuple):
    """What was posted of an account by one run; a positive amount is owed (R5)."""

    account_uuid: str
    amount: Decimal
    balance_before: Decimal
    balance_after: Decimal


class PeriodSum(NamedTuple):
    """What was posted of an account in a billing period, and its balance now."""

    account_uuid: str
    rated_quantity: int
    charges: Decimal
    credits: Decimal
    balance: Decimal


def changes_of_run(connection: Connection, run_id: int) -> list[AccountChange]:
    """What a run that rates appended to the ledger, per account, largest first."""
    rows = connection.execute(sql("ledger/changes_of_run").encode(), {"run_id": run_id})
    return [AccountChange(*row) for row in rows]


def period_sums(connection: Connection, period: Hour) -> list[PeriodSum]:
    """What is posted in a billing period, per account, largest first."""
    rows = connection.execute(sql("ledger/period_sums").encode(), {"period": period.index})
    return [PeriodSum(*row) for row in rows]


def is_known(connection: Connection, account_uuid: str) -> bool:
    """Whether anything was ever recorded of an account."""
    (known,) = one_row(
        connection,
        "select exists (select from billing_core.accounts where account_uuid = %(account_uuid)s)",
        {"account_uuid": account_uuid},
    )
    return bool(known)


def append_credit(
    connection: Connection,
    account_uuid: str,
    amount: Decimal,
    reason: str,
    opening_balance: Decimal,
    period: Hour,
    run_id: int,
) -> tuple[int, Decimal]:
    """Appends a credit and raises the balance (R6); gives the entry's number and the balance."""
    parameters = {
        "account_uuid": account_uuid,
        "amount": amount,
        "reason": reason,
        "period_hour": period.index,
        "run_id": run_id,
    }
    register_accounts(connection, [account_uuid], opening_balance)
    entry_id, balance = one_row(connection, sql("ledger/append_credit"), parameters)
    return int(entry_id), Decimal(balance)


def credit_of_run(connection: Connection, run_id: int) -> tuple[int, str, Decimal, Decimal] | None:
    """Number, account, amount and balance of the credit that a run appended, if it did."""
    row = connection.execute(
        "select entry_id, account_uuid::text, amount, balance_after"
        " from billing_core.ledger_entries join billing_core.accounts using (account_key)"
        " where run_id = %s and entry_type = 'credit'",
        (run_id,),
    ).fetchone()
    return None if row is None else (int(row[0]), str(row[1]), Decimal(row[2]), Decimal(row[3]))


def next_period(connection: Connection, period: Hour) -> Hour:
    """The first hour of the period after one."""
    (hour,) = one_row(
        connection,
        "select billing_core.next_period_hour(%(period)s)",
        {"period": period.index},
    )
    return Hour(int(hour))


def posting_period(connection: Connection, hour: Hour, anchor: int) -> Hour:
    """The first hour of the period in which something of an hour is posted now (R7)."""
    (period,) = one_row(
        connection,
        "select billing_core.posting_period_hour(%(hour)s, %(anchor)s)",
        {"hour": hour.index, "anchor": anchor},
    )
    return Hour(int(period))


def unrated_account_hours(connection: Connection, start: Hour, end: Hour) -> int:
    """Account-hours of a period that are not rated, or stale."""
    (count,) = one_row(
        connection,
        "select count(*) from billing_core.account_hours"
        " where stale and (rated or quantity > 0) and hour >= %(start)s and hour < %(end)s",
        {"start": start.index, "end": end.index},
    )
    return int(count)


def close_period(connection: Connection, period: Hour, run_id: int) -> bool:
    """Marks a period closed; False when it was."""
    closed = connection.execute(
        "insert into billing_core.closed_periods (period_hour, run_id)"
        " values (%s, %s) on conflict do nothing",
        (period.index, run_id),
    )
    return closed.rowcount > 0
