"""Credits, and closing billing periods (R6, R7), each with what it would do before it does it."""

import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import psycopg

from billing_etl.errors import BillingError, RetryableError, TerminalError, UsageError
from billing_etl.hours import Hour, parse_date
from billing_etl.masking import UUID_IN_TEXT, without_emails
from billing_etl.pipeline.engine import Engine
from billing_etl.rating import is_exact, period_of
from billing_etl.store import ledger, ratings
from billing_etl.store.database import Connection
from billing_etl.store.ledger import AccountChange, PeriodSum

# The run of what is undone again: no run record has this number.
PREVIEW: Final = 0


def arrears(balance: Decimal) -> Decimal:
    """What an account with that balance owes (R6)."""
    return max(-balance, Decimal(0))


def change_as_dict(change: AccountChange) -> dict[str, Any]:
    """Balance and arrears of an account before and after, ready for JSON."""
    return {
        "account_uuid": change.account_uuid,
        "amount": f"{change.amount:f}",
        "balance_before": f"{change.balance_before:f}",
        "balance_after": f"{change.balance_after:f}",
        "arrears_before": f"{arrears(change.balance_before):f}",
        "arrears_after": f"{arrears(change.balance_after):f}",
    }


@dataclass(frozen=True, slots=True)
class Credit:
    """A credit as appended, or as it would be; then ``entry_id`` is None.

    Attributes:
        is_new: nothing was known of the account before; a mistyped uuid shows here.
    """

    entry_id: int | None
    account_uuid: str
    amount: Decimal
    balance_after: Decimal
    is_new: bool = False

    def as_dict(self) -> dict[str, Any]:
        before = self.balance_after - self.amount
        change = AccountChange(self.account_uuid, self.amount, before, self.balance_after)
        return {
            "entry_id": self.entry_id,
            **change_as_dict(change),
            "account": "new" if self.is_new else "known",
        }


@dataclass(frozen=True, slots=True)
class Closing:
    """A billing period as it is closed, or would be.

    Attributes:
        label: the month in which it starts.
        period, end: its first hour, and the first one after it.
        posts_in: first hour of the period that takes later differences (R7).
        accounts: what is posted in it; closing moves no balance.
    """

    label: str
    period: Hour
    end: Hour
    posts_in: Hour
    accounts: list[PeriodSum]

    def as_dict(self) -> dict[str, Any]:
        return {
            "period": self.label,
            "period_start": self.period.start.isoformat(),
            "period_end": self.end.start.isoformat(),
            "later_differences_post_in": self.posts_in.start.isoformat(),
            "accounts": len(self.accounts),
            "accounts_in_arrears": sum(each.balance < 0 for each in self.accounts),
            "rated_bytes": sum(each.rated_quantity for each in self.accounts),
            "charges": f"{sum((each.charges for each in self.accounts), Decimal(0)):f}",
            "credits": f"{sum((each.credits for each in self.accounts), Decimal(0)):f}",
            "arrears": f"{sum((arrears(each.balance) for each in self.accounts), Decimal(0)):f}",
        }

    def accounts_as_dicts(self) -> list[dict[str, Any]]:
        """Of each account what is posted in the period; its balance is the same afterwards."""
        return [
            {
                "account_uuid": each.account_uuid,
                "rated_bytes": each.rated_quantity,
                "charges": f"{each.charges:f}",
                "credits": f"{each.credits:f}",
                "balance_before": f"{each.balance:f}",
                "balance_after": f"{each.balance:f}",
                "arrears_before": f"{arrears(each.balance):f}",
                "arrears_after": f"{arrears(each.balance):f}",
            }
            for each in self.accounts
        ]


def add_credit(engine: Engine, account: str, amount: Decimal, reason: str) -> Credit:
    """Appends a credit to the ledger; the account may be new.

    Raises:
        UsageError: the account is no uuid, the amount is not above zero, or the reason is empty or
            names an account.
        RetryableError: nothing was given: the database was away, or another run held the ledger
            too long.
        TerminalError: it is not known whether the credit was given; a person has to look.
    """
    account_uuid = _checked(account, amount, reason)
    with engine.run("credit") as run:
        try:
            credit = _append_credit(engine, account_uuid, amount, reason, run.run_id)
        except _UnansweredError:
            # Given again, it would count twice if only the answer was lost.
            credit = _credit_of_run(engine, run.run_id)
        run.counts.update(credit.as_dict())
        return credit


def preview_credit(engine: Engine, account: str, amount: Decimal, reason: str) -> Credit:
    """What a credit would do to the account; nothing is kept, no run record either.

    Raises:
        UsageError: as giving it would.
    """
    account_uuid = _checked(account, amount, reason)
    with engine.connect() as connection:
        credit = _appended(connection, engine, account_uuid, amount, reason, PREVIEW)
        connection.rollback()
        return replace(credit, entry_id=None)


def _checked(account: str, amount: Decimal, reason: str) -> str:
    """The uuid of an account to be credited."""
    try:
        account_uuid = str(uuid.UUID(account))
    except ValueError:
        raise UsageError(f"credit: expected an account uuid, got {account!r}") from None
    if not is_exact(amount) or amount <= 0:
        raise UsageError(
            f"credit: expected an amount above 0, from 1e-40 to 1e40, got {str(amount)[:60]}"
        )
    if not reason.strip() or UUID_IN_TEXT.search(reason):
        # The ledger is never changed: what is written there could not be erased.
        raise UsageError("credit: expected a reason that names no account, got another")
    return account_uuid


def _append_credit(
    engine: Engine, account_uuid: str, amount: Decimal, reason: str, run_id: int
) -> Credit:
    with engine.connect() as connection:
        credit = _appended(connection, engine, account_uuid, amount, reason, run_id)
        try:
            connection.commit()
        except psycopg.Error as error:
            raise _UnansweredError from error
        return credit


def _appended(
    connection: Connection,
    engine: Engine,
    account_uuid: str,
    amount: Decimal,
    reason: str,
    run_id: int,
) -> Credit:
    """The credit, in a transaction that is still open."""
    ratings.lock_rating(connection)
    is_new = not ledger.is_known(connection, account_uuid)
    now = Hour.of(datetime.now(UTC))
    entry_id, balance = ledger.append_credit(
        connection,
        account_uuid,
        amount,
        without_emails(reason),
        engine.settings.initial_balance,
        period_of(now, ratings.anchor_day(connection, engine.settings)),
        run_id,
    )
    return Credit(entry_id, account_uuid, amount, balance, is_new)


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


def close_period(engine: Engine, label: str) -> Closing:
    """Closes a billing period: later differences of its hours post in the open one (R7).

    Args:
        engine: settings and database.
        label: the month in which the period starts, such as ``2026-04``.

    Raises:
        UsageError: no such month, the period has not ended, it is closed already, or some of its
            usage is not rated yet.
    """
    month = _month(label)
    with engine.run("close", label) as run, engine.connect() as connection:
        return _closed(connection, engine, month, label, run.run_id)


def preview_close(engine: Engine, label: str) -> Closing:
    """What closing a period would settle; nothing is kept, no run record either.

    Raises:
        UsageError: as closing would.
    """
    month = _month(label)
    with engine.connect() as connection:
        closing = _closed(connection, engine, month, label, PREVIEW)
        connection.rollback()
        return closing


def _month(label: str) -> datetime:
    try:
        return parse_date(label, "%Y-%m")
    except ValueError:
        raise UsageError(f"close: expected a period such as 2026-04, got {label!r}") from None


def _closed(
    connection: Connection, engine: Engine, month: datetime, label: str, run_id: int
) -> Closing:
    """The period as closed, in a transaction that is still open."""
    ratings.lock_rating(connection)
    anchor = ratings.anchor_day(connection, engine.settings)
    period = Hour.of(month.replace(day=anchor))
    end = ledger.next_period(connection, period)
    if end.start > datetime.now(UTC):
        raise UsageError(f"close: expected a period that has ended, got {label}, open until {end}")
    unrated = ledger.unrated_account_hours(connection, period, end)
    if unrated:
        raise UsageError(
            f"close: expected all usage of {label} to be rated, got {unrated} account-hours "
            "that are not; run `billing-etl rate` for it first"
        )
    if not ledger.close_period(connection, period, run_id):
        raise UsageError(
            f"close: period {label} is closed already, perhaps by a run that lost its connection"
        )
    posts_in = ledger.posting_period(connection, period, anchor)
    return Closing(label, period, end, posts_in, ledger.period_sums(connection, period))
