"""Usage for people who write no SQL: by date, account, region or inbound, with cost and quota."""

import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias, get_args

from billing_etl.errors import UsageError
from billing_etl.hours import Hour, HourRange
from billing_etl.pipeline.engine import Engine
from billing_etl.rating import period_of
from billing_etl.store import archives, ratings, usage
from billing_etl.store.usage import Quota, Sums

By: TypeAlias = Literal["hour", "day", "month", "account", "region", "inbound"]
BY: Final[tuple[str, ...]] = get_args(By)
# Hours of a year before the range's end: how far back months go by themselves.
_YEAR: Final = 366 * 24


@dataclass(frozen=True, slots=True)
class UsageQuestion:
    """What is asked.

    Attributes:
        by: what usage is summed by; ``month`` is the billing period that starts in it.
        account: only of this account, a uuid.
        region: only of this region.
        start, end: first hour, and the end, itself left out. Without: the billing period that
            runs (of months the last year), until now.
        limit: show so many rows: the newest of a time, the largest of anything else.
    """

    by: str = "day"
    account: str | None = None
    region: str | None = None
    start: Hour | None = None
    end: Hour | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class UsageAnswer:
    """Rows as shown, ``keys`` counts all; ``quotas`` are of the account, or of the rows."""

    question: UsageQuestion
    hours: HourRange
    rows: list[Sums]
    keys: int
    total: Sums
    quotas: list[Quota]

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON; amounts are exact decimals as text."""
        return {
            "by": self.question.by,
            "from": str(self.hours.start),
            "to": str(self.hours.end),
            "account_uuid": self.question.account,
            "region": self.question.region,
            "rows": [
                {self.question.by: row.key} | _numbers(row) | quota_of_row
                for row, quota_of_row in zip(self.rows, self.row_quotas(), strict=True)
            ],
            "rows_left_out": self.keys - len(self.rows),
            "total": _numbers(self.total),
            "quotas": [quota._asdict() for quota in self.quotas] if self.question.account else [],
        }

    def row_quotas(self) -> list[dict[str, int | None]]:
        """Quota and rest of each row, where a quota belongs to it: of accounts and of months."""
        if self.question.by not in {"account", "month"}:
            return [{} for _ in self.rows]
        found: dict[str, list[Quota]] = {}
        for quota in self.quotas:
            key = quota.account_uuid if self.question.by == "account" else quota.month
            found.setdefault(key, []).append(quota)
        return [_summed(found.get(row.key, [])) for row in self.rows]


def _summed(quotas: list[Quota]) -> dict[str, int | None]:
    if not quotas:
        return {"quota_bytes": None, "remaining_bytes": None}
    return {
        "quota_bytes": sum(quota.quota_bytes for quota in quotas),
        "remaining_bytes": sum(quota.remaining_bytes for quota in quotas),
    }


def _numbers(row: Sums) -> dict[str, Any]:
    return {
        "uplink_bytes": row.uplink_bytes,
        "downlink_bytes": row.downlink_bytes,
        "total_bytes": row.total_bytes,
        "included_bytes": row.included_bytes,
        "rated_bytes": row.rated_bytes,
        "unrated_bytes": row.unrated_bytes,
        "amount": None if row.amount is None else f"{row.amount:f}",
    }


def ask_usage(engine: Engine, question: UsageQuestion) -> UsageAnswer:
    """Answers a question about usage.

    Raises:
        UsageError: the account is no uuid, the range is empty, or the limit is below 1.
        ArchivedError: by inbound, of hours whose facts are archived.
    """
    account = None if question.account is None else _account(question.account)
    if question.limit is not None and not 1 <= question.limit < 2**63:
        raise UsageError(f"usage: expected a limit of 1 or more, got {question.limit}")
    with engine.connect() as connection:
        anchor = ratings.anchor_day(connection, engine.settings)
        hours = _hours(question, anchor)
        if question.by == "inbound":  # which only facts know
            archives.refuse(connection, hours.start, "usage by inbound")
        found = usage.usage(
            connection,
            question.by,
            hours,
            account=account,
            region=question.region,
            anchor=anchor,
            limit=question.limit,
        )
        rows = found.rows
        if question.by in {"hour", "day", "month"}:
            rows = rows[::-1]  # as time goes
        quotas: list[Quota] = []
        if account or question.by in {"account", "month"}:
            of = [row.key for row in rows] if question.by == "account" else None
            quotas = usage.quotas(connection, hours, [account] if account else of)
    return UsageAnswer(
        replace(question, account=account), hours, rows, found.keys, found.total, quotas
    )


def _account(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise UsageError(f"usage: expected an account uuid, got {text!r}") from None


def _hours(question: UsageQuestion, anchor: int) -> HourRange:
    end = question.end or Hour.of(datetime.now(UTC)).next
    last = Hour(end.index - 1)
    start = question.start or period_of(
        Hour(last.index - _YEAR) if question.by == "month" else last, anchor
    )
    return HourRange(start, end)
