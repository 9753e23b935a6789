"""Credits, and closing billing periods (R6, R7)."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg

from billing_etl.errors import BillingError, RetryableError, TerminalError, UsageError
from billing_etl.hours import Hour
from billing_etl.pipeline.engine import Engine
from billing_etl.rating import period_of
from billing_etl.store import ledger, ratings


@dataclass(frozen=True, slots=True)
class Credit:
    """A credit as appended."""

    entry_id: int
    account_uuid: str
    amount: Decimal
    balance_after: Decimal

    def as_dict(self) -> dict[str, Any]:
        return {
            "entry_id": self.entry_id,
            "account_uuid": self.account_uuid,
            "amount": f"{self.amount:f}",
            "balance_after": f"{self.balance_after:f}",
        }


def add_credit(engine: Engine, account: str, amount: Decimal, reason: str) -> Credit:
    """Appends a credit to the ledger; the account may be new.

    Raises:
        UsageError: the account is no uuid, the amount is not above zero, or the reason is empty.
        RetryableError: nothing was given: the database was away, or another run held the ledger
            too long.
        TerminalError: it is not known whether the credit was given; a person has to look.
    """
    try:
        account_uuid = str(uuid.UUID(account))
    except ValueError:
        raise UsageError(f"credit: expected an account uuid, got {account!r}") from None
    if not amount.is_finite() or amount <= 0:
        raise UsageError(f"credit: expected an amount above 0, got {amount}")
    if not reason.strip():
        raise UsageError("credit: expected a reason, got nothing")
    with engine.run("credit") as run:
        try:
            credit = _append_credit(engine, account_uuid, amount, reason, run.run_id)
        except _UnansweredError:
            # Given again, it would count twice if only the answer was lost.
            credit = _credit_of_run(engine, run.run_id)
        run.counts.update(credit.as_dict())
        return credit


def _append_credit(
    engine: Engine, account_uuid: str, amount: Decimal, reason: str, run_id: int
) -> Credit:
    with engine.connect() as connection:
        ratings.lock_rating(connection)
        now = Hour.of(datetime.now(UTC))
        entry_id, balance = ledger.append_credit(
            connection,
            account_uuid,
            amount,
            reason,
            engine.settings.initial_balance,
            period_of(now, ratings.anchor_day(connection, engine.settings)),
            run_id,
        )
        try:
            connection.commit()
        except psycopg.Error as error:
            raise _UnansweredError from error
        return Credit(entry_id, account_uuid, amount, balance)


class _UnansweredError(Exception):
    """The COMMIT was begun and not confirmed: it may have happened or not."""


def _credit_of_run(engine: Engine, run_id: int) -> Credit:
    """The credit that a run appended, once its transaction has ended.

    Raises:
        RetryableError: it was not given.
        TerminalError: whether it was given cannot be found out now.
    """
    try:
        with engine.connect() as connection:
            row = ledger.credit_of_run(connection, run_id)
            if row is None:
                ratings.lock_rating(connection)  # held by a transaction that is still ending
                row = ledger.credit_of_run(connection, run_id)
    except BillingError as error:
        raise TerminalError(
            f"credit: not known whether it was given; look for run {run_id} in billing.ledger "
            "before giving it again"
        ) from error
    if row is None:
        raise RetryableError(
            "credit: not given, the connection to the database was lost before it was; run again"
        )
    return Credit(*row)


def close_period(engine: Engine, label: str) -> Hour:
    """Closes a billing period: later differences of its hours post in the open one (R7).

    Args:
        engine: settings and database.
        label: the month in which the period starts, such as ``2026-04``.

    Returns:
        The first hour of the closed period.

    Raises:
        UsageError: no such month, the period has not ended, it is closed already, or some of its
            usage is not rated yet.
    """
    try:
        month = datetime.strptime(label, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"close: expected a period such as 2026-04, got {label!r}") from None
    with engine.run("close", label) as run, engine.connect() as connection:
        ratings.lock_rating(connection)
        anchor = ratings.anchor_day(connection, engine.settings)
        period = Hour.of(month.replace(day=anchor))
        end = ledger.next_period(connection, period)
        if end.start > datetime.now(UTC):
            raise UsageError(
                f"close: expected a period that has ended, got {label}, open until {end}"
            )
        unrated = ledger.unrated_account_hours(connection, period, end)
        if unrated:
            raise UsageError(
                f"close: expected all usage of {label} to be rated, got {unrated} account-hours "
                "that are not; run `billing-etl rate` for it first"
            )
        if not ledger.close_period(connection, period, run.run_id):
            raise UsageError(
                f"close: period {label} is closed already, perhaps by a run that lost its "
                "connection"
            )
        return period
