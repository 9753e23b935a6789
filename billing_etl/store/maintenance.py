"""What is due to be dropped, in bounded batches; suspensions; partitions ahead of their use."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from psycopg import sql as composed
from psycopg.rows import class_row

from billing_etl.store.database import Connection, one_row, sql

_NO_END: Final = 2**62


@dataclass(frozen=True, slots=True)
class Debtor:
    """An account whose arrears have lasted longer than the grace."""

    account_key: int
    account_uuid: str
    balance: Decimal
    arrears_since: datetime

    def as_dict(self) -> dict[str, Any]:
        return {
            "account_uuid": str(self.account_uuid),
            "balance": f"{self.balance:f}",
            "arrears_since": self.arrears_since,
        }


def count_due(connection: Connection, name: str, before: datetime) -> int:
    """How many rows the database's rule of this name would drop; changes nothing."""
    statement = composed.SQL("select count(*) from {}(%s, %s)").format(_rule("due", name))
    ((count,),) = connection.execute(statement, (before, _NO_END))
    return int(count)


def drop_due(connection: Connection, name: str, before: datetime, most: int) -> int:
    """Drops at most so many rows that are due, in a transaction of its own; gives their number."""
    statement = composed.SQL("select {}(%s, %s)").format(_rule("drop", name))
    with connection.transaction():
        ((count,),) = connection.execute(statement, (before, most))
    return int(count)


def _rule(verb: str, name: str) -> composed.Identifier:
    return composed.Identifier("billing_core", f"{verb}_{name}")


def missing_partitions(connection: Connection, days: Sequence[int]) -> list[int]:
    """Those of the days, counted from 1970, that lack a partition of facts or closings."""
    rows = connection.execute(
        sql("maintain/missing_partitions").encode(), {"days": list(days)}
    ).fetchall()
    return [int(day) for (day,) in rows]


def make_partitions(connection: Connection, day: int) -> bool:
    """Makes the partitions of a day where they are missing; whether any was."""
    (made,) = one_row(connection, "select billing_core.ensure_day_partition(%(day)s)", {"day": day})
    return bool(made)


def debtors(connection: Connection, now: datetime, grace: timedelta, most: int) -> list[Debtor]:
    """Accounts to suspend, in order of their keys."""
    with connection.cursor(row_factory=class_row(Debtor)) as cursor:
        return cursor.execute(
            sql("maintain/due_suspensions").encode(), {"now": now, "grace": grace, "most": most}
        ).fetchall()


def suspend(
    connection: Connection, found: Sequence[Debtor], grace: timedelta, reason: str, run_id: int
) -> None:
    """Suspends accounts, in the transaction that found them and holds the rating lock."""
    connection.execute(
        sql("maintain/suspend").encode(),
        {
            "account_keys": [debtor.account_key for debtor in found],
            "since": [debtor.arrears_since for debtor in found],
            "grace": grace,
            "reason": reason,
            "run_id": run_id,
        },
    )
