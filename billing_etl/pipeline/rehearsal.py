"""A dry run: what collecting hours again would change in bytes and money, before it does.

The hours are really collected and rated, by the code that does it for good, in one transaction
that is rolled back; what is committed is compared with what the transaction sees. So an hour that
is missing counts for the hours after it, and a quota for the rest of its period.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from billing_etl.errors import BillingError
from billing_etl.hours import Hour, HourRange
from billing_etl.pipeline.collect import CollectResult, refuse_archived, rehearse_hour
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.rate import rate_in
from billing_etl.settings import Source
from billing_etl.store import ratings, rehearsals
from billing_etl.store.database import Connection
from billing_etl.store.facts import lock_sealings
from billing_etl.store.sources import lock_source, prepare_hour

# Others wait meanwhile for these sources, for sealing and for rating, 120 seconds at most.
HOLD_SECONDS: Final = 60.0
# Accounts that a log names; a document names all.
MOST_LINES: Final = 50
CHANGE_COLUMNS: Final = (
    "bytes_before", "bytes_after", "bytes_difference",
    "amount_before", "amount_after", "amount_difference",
)  # fmt: skip

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """Bytes and money of an account-hour, or of several, now and after a real run.

    ``amount_*``: net of the ledger entries that belong to the hour, exact (R5).
    """

    bytes_before: int
    bytes_after: int
    amount_before: Decimal
    amount_after: Decimal

    def __add__(self, other: "Change") -> "Change":
        return Change(
            self.bytes_before + other.bytes_before,
            self.bytes_after + other.bytes_after,
            self.amount_before + other.amount_before,
            self.amount_after + other.amount_after,
        )

    @property
    def is_none(self) -> bool:
        return self.bytes_before == self.bytes_after and self.amount_before == self.amount_after

    def as_dict(self) -> dict[str, Any]:
        return {
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "bytes_difference": self.bytes_after - self.bytes_before,
            "amount_before": f"{self.amount_before:f}",
            "amount_after": f"{self.amount_after:f}",
            "amount_difference": f"{self.amount_after - self.amount_before:f}",
        }


NO_CHANGE: Final = Change(0, 0, Decimal(0), Decimal(0))


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What would change. Account-hours that would stay as they are do not appear.

    Attributes:
        hours: what was asked for; rating may change later hours as well (R4).
        collected: source-hours that were compared.
        failures: source-hours that could not be collected, and why.
        left: source-hours that were not compared, as locks had been held for long enough.
        changes: by hour and account.
        corrections: events that sealed hours would get beside those that wait already.
    """

    hours: HourRange
    collected: list[CollectResult] = field(default_factory=list)
    failures: list[tuple[str, Hour, str]] = field(default_factory=list)
    left: list[tuple[str, Hour]] = field(default_factory=list)
    changes: dict[tuple[Hour, str], Change] = field(default_factory=dict)
    corrections: dict[Hour, int] = field(default_factory=dict)

    def by_hour(self) -> list[dict[str, Any]]:
        """Sums per hour, with the corrections that it would get; oldest first."""
        sums = _sums(((hour, change) for (hour, _), change in self.changes.items()))
        accounts = {hour: sum(of == hour for of, _ in self.changes) for hour in sums}
        return [
            {"hour": str(hour), "accounts": accounts.get(hour, 0)}
            | sums.get(hour, NO_CHANGE).as_dict()
            | {"corrections": self.corrections.get(hour, 0)}
            for hour in sorted({*sums, *self.corrections})
        ]

    def by_account(self) -> list[dict[str, Any]]:
        """Sums per account, the largest difference of its amount first."""
        sums = _sums(((account, change) for (_, account), change in self.changes.items()))

        def largest(entry: tuple[str, Change]) -> tuple[Decimal, int, str]:
            account, change = entry
            money = abs(change.amount_after - change.amount_before)
            return -money, -abs(change.bytes_after - change.bytes_before), account

        return [
            {"account_uuid": account} | change.as_dict()
            for account, change in sorted(sums.items(), key=largest)
        ]

    def summary(self) -> dict[str, Any]:
        """Sums and counts only."""
        total = sum(self.changes.values(), NO_CHANGE)
        return {
            "dry_run": True,
            "hours": str(self.hours),
            "source_hours": len(self.collected),
            "hours_changed": len({hour for hour, _ in self.changes} | set(self.corrections)),
            "accounts_changed": len({account for _, account in self.changes}),
            **total.as_dict(),
            "corrections": sum(self.corrections.values()),
            "failed": len(self.failures),
            "not_compared": len(self.left),
        }

    def sentence(self) -> str:
        """The sums in one line for people."""
        total = self.summary()
        return (
            f"dry run of {self.hours}: nothing was written. {total['source_hours']} source-hours "
            f"compared; {total['hours_changed']} hours of {total['accounts_changed']} accounts "
            f"would change by {total['bytes_difference']:+} bytes and "
            f"{Decimal(total['amount_difference']):+f} in amount, with {total['corrections']} "
            "corrections to deliver"
        )

    def incomplete(self) -> str:
        """What the sums do not hold, in one line; empty: they hold all."""
        parts = [error for _, _, error in self.failures]
        if self.left:
            source_id, hour = self.left[0]
            parts.append(
                f"dry run of {self.hours}: expected to compare all, got as far as source "
                f"{source_id}, hour {hour}, as other runs wait meanwhile; nothing from there on is "
                "in the sums, name fewer hours (or a longer --hold)"
            )
        return "; ".join(parts)

    def lines(self) -> list[str]:
        """What would change as lines of a log: the sentence, then a table per hour and account."""
        hours, accounts = self.by_hour(), self.by_account()
        left_out = len(accounts) - MOST_LINES
        return [
            self.sentence(),
            *_table(("hour", "accounts", *CHANGE_COLUMNS, "corrections"), hours),
            *_table(("account_uuid", *CHANGE_COLUMNS), accounts[:MOST_LINES]),
            *([f"... and {left_out} accounts with smaller changes"] if left_out > 0 else []),
        ]

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.summary(),
            "by_hour": self.by_hour(),
            "by_account": self.by_account(),
            "changes": [
                {"hour": str(hour), "account_uuid": account} | change.as_dict()
                for (hour, account), change in sorted(self.changes.items())
            ],
            "failures": [
                {"source_id": source_id, "hour": str(hour), "error": error}
                for source_id, hour, error in self.failures
            ],
            "left": [{"source_id": source_id, "hour": str(hour)} for source_id, hour in self.left],
        }


def _table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> list[str]:
    """Right-aligned columns; nothing without rows."""
    cells = [[str(row[column]) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in ([list(columns), *cells] if cells else [])
    ]


def _sums(changes: Iterable[tuple[Any, Change]]) -> dict[Any, Change]:
    sums: dict[Any, Change] = {}
    for key, change in changes:
        sums[key] = sums.get(key, NO_CHANGE) + change
    return sums


def rehearse(
    engine: Engine,
    sources: Sequence[Source],
    hours: HourRange,
    *,
    only: Collection[tuple[str, Hour]] | None = None,
    hold_seconds: float = HOLD_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Rehearsal:
    """Collects and rates hours for show, oldest first: what it writes is rolled back.

    Args:
        engine: settings and database.
        sources: of these.
        hours: the hours, half-open.
        only: of these no other source-hours, by source id.
        hold_seconds: after so long no further hour is begun; what is left is named. Until then
            other runs of these sources, rating and sealing wait, so it is short.
        clock: seconds, from anywhere.

    Raises:
        ArchivedError: the range begins in archived hours.
        UsageError: there is no price.
        RetryableError: other runs hold what it needs for longer than the lock wait.
    """
    refuse_archived(engine, hours, f"dry run of {hours}")
    result = Rehearsal(hours)
    wanted = [
        (source, hour)
        for hour in hours
        for source in sources
        if only is None or (source.source_id, hour) in only
    ]
    if not wanted:
        return result
    with engine.connect() as connection:
        try:
            run_id, last_entry = _lock(connection, engine, sources, hours, wanted)
            started = clock()
            for at, (source, hour) in enumerate(wanted):
                if clock() - started > hold_seconds:
                    result.left.extend((left.source_id, hour) for left, hour in wanted[at:])
                    break
                try:
                    with connection.transaction():
                        collected = rehearse_hour(connection, engine, source, hour, run_id)
                except BillingError as error:
                    result.failures.append((source.source_id, hour, str(error)))
                else:
                    result.collected.append(collected)
            _compare(connection, engine, result, run_id, last_entry)
        finally:
            connection.rollback()
    return result


def _lock(
    connection: Connection,
    engine: Engine,
    sources: Sequence[Source],
    hours: HourRange,
    wanted: Sequence[tuple[Source, Hour]],
) -> tuple[int, int]:
    """Takes every lock in the order that all runs keep, before anything is written.

    Rating goes before account-hours, and all sources before either: so a dry run of many hours
    waits for nobody who waits for it.
    """
    who = f"dry run of {hours}"
    for source in sorted(sources, key=lambda each: each.source_id):
        lock_source(connection, source.source_id, hours.start)
    lookback = max(source.lookback_minutes for source in sources)
    for hour in sorted({hour for _, hour in wanted}):
        prepare_hour(connection, hour, lookback)
    lock_sealings(connection, hours.start, who)
    ratings.lock_rating(connection, who)
    run_id, last_entry = rehearsals.begin(connection, "backfill --dry-run")
    ratings.seed(connection, engine.settings, run_id)
    return run_id, last_entry


def _compare(
    connection: Connection, engine: Engine, result: Rehearsal, run_id: int, last_entry: int
) -> None:
    keys = set(rehearsals.touched(connection, run_id, last_entry))
    anchor = ratings.anchor_day(connection, engine.settings)
    picked = ratings.pick(connection, HourRange(Hour(0), result.hours.end), anchor)
    rate_in(connection, engine, picked, "usage changed", run_id)
    keys.update(rehearsals.touched(connection, run_id, last_entry))
    ordered = sorted(keys, key=lambda key: (key[1], key[0]))
    after = rehearsals.states(connection, ordered)
    # Another connection sees what is committed.
    with engine.connect() as committed:
        before = rehearsals.states(committed, ordered)
        for key in ordered:
            new = after[key]
            old = before.get(key)
            change = Change(
                old.quantity if old else 0,
                new.quantity,
                old.amount if old else Decimal(0),
                new.amount,
            )
            if not change.is_none:
                result.changes[Hour(key[1]), new.account_uuid] = change
        hours = {*result.hours, *(Hour(hour) for _, hour in ordered)}
        waiting = rehearsals.pending_corrections(committed, hours)
        for hour, events in rehearsals.pending_corrections(connection, hours).items():
            more = events - waiting.get(hour, 0)
            if more:
                result.corrections[hour] = more
