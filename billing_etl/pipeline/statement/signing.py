"""Makes, signs and verifies statements.

A statement is read from one moment of the database, hour by hour, in memory that does not grow
with the rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

import psycopg

from billing_etl.errors import RetryableError, TerminalError, UsageError
from billing_etl.hours import Hour, HourRange, parse_date
from billing_etl.masking import without_emails
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.statement.document import FORM, Made, Span, read_span
from billing_etl.rating import next_period
from billing_etl.statement import (
    APPEND_ONLY,
    DELIVERY,
    HourChange,
    Number,
    hour_change,
    read,
    root_of,
    table_changes,
)
from billing_etl.store import ratings, statements
from billing_etl.store.database import Connection
from billing_etl.store.statements import Signed

Advance: TypeAlias = Callable[[], None]

# What these numbers say changes with each delivery; the digest takes in what was sealed.
_DELIVERY_NUMBERS: Final = frozenset(name for link in DELIVERY for name in link.left)
_REASONS_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a signed statement is worth now.

    Attributes:
        changes: hours that are not as they were signed, oldest first.
        altered: what of the signed statement itself is not as it was made.
    """

    span: Span
    signed: Signed
    root: str
    changes: list[HourChange]
    altered: list[str]

    @property
    def is_unchanged(self) -> bool:
        return not self.changes and not self.altered

    @property
    def is_explained(self) -> bool:
        """Unchanged, or changed by nothing but what is recorded."""
        return not self.altered and not any(change.problems for change in self.changes)

    def as_dict(self) -> dict[str, Any]:
        return {
            "span": self.span.kind,
            "label": self.span.label,
            "statement_id": self.signed.statement_id,
            "signed_at": self.signed.signed_at,
            "run_id": self.signed.run_id,
            "root": self.signed.root,
            "root_now": self.root,
            "unchanged": self.is_unchanged,
            "explained": self.is_explained,
            "altered": self.altered,
            "changes": [change.as_dict() for change in self.changes],
        }


def span_of(engine: Engine, *, day: str | None = None, month: str | None = None) -> Span:
    """The hours of a day such as 2026-04-08, or of the billing period that starts in a month.

    Raises:
        UsageError: the text is no day, or no month.
    """
    try:
        if day is not None:
            start = Hour.of(parse_date(day, "%Y-%m-%d"))
            return Span("day", str(start)[:10], HourRange(start, Hour(start.index + 24)))
        first = parse_date(month or "", "%Y-%m")
    except ValueError:
        expected = "a day such as 2026-04-08" if day is not None else "a month such as 2026-04"
        raise UsageError(
            f"statement: expected {expected}, got {day if day is not None else month!r}"
        ) from None
    with engine.connect() as connection:
        anchor = ratings.anchor_day(connection, engine.settings)
    start = Hour.of(first.replace(day=anchor))
    return Span("month", f"{first:%Y-%m}", HourRange(start, next_period(start, anchor)))


def make_statement(engine: Engine, span: Span, *, advance: Advance, now: datetime) -> Made:
    """The statement as it is now; changes nothing.

    Args:
        advance: called once an hour.
        now: the wall clock, which says whether hours have ended.
    """
    with engine.connect() as connection:
        moment = statements.begin_snapshot(connection)
        return read_span(connection, engine.settings, span, moment, now, {}, advance)


def sign_statement(
    engine: Engine, span: Span, *, despite: str | None, advance: Advance, now: datetime
) -> tuple[Made, Signed, bool]:
    """Signs a statement that is balanced and final, or ``despite`` what it is not.

    A later one supersedes the former of its span and says what changed since. What is as it was
    signed is not signed again.

    Returns:
        The statement, as it is signed, and whether that was done now.

    Raises:
        UsageError: ``despite`` is blank.
        TerminalError: it is not balanced or not final, and there is no ``despite``.
        RetryableError: another run has signed it meanwhile.
    """
    if despite is not None and not despite.strip():
        raise UsageError("statement: expected a reason after --despite, got nothing")
    despite = None if despite is None else without_emails(despite)
    with (
        engine.run("statement sign", span.hours) as run,
        engine.connect() as connection,
    ):
        moment = statements.begin_snapshot(connection)
        former = statements.latest(connection, span.kind, span.hours.start)
        made = read_span(
            connection, engine.settings, span, moment, now, _signed_rows(former), advance
        )
        verdict = None if former is None else _judge(connection, span, former, made)
        if former is not None and verdict is not None:
            same = (former.is_balanced, former.is_final) == (made.is_balanced, made.is_final)
            if verdict.is_unchanged and same:
                return made, former, False
            made.document["changes"] = [change.as_dict() for change in verdict.changes]
        made.document["supersedes"] = None if former is None else former.statement_id
        reasons = made.reasons + (_unexplained(verdict) if verdict else [])
        if reasons and despite is None:
            raise TerminalError(
                f"statement of {span}: not signed, {_some(reasons)}; settle that, or sign it "
                'with --despite "reason"'
            )
        made.document["despite"] = despite if reasons else None
        try:
            statements.sign(
                connection,
                span=span.kind,
                label=span.label,
                hours=span.hours,
                document=made.document,
                inputs=made.inputs,
                despite=made.document["despite"],
                supersedes=made.document["supersedes"],
                run_id=run.run_id,
            )
        except psycopg.errors.UniqueViolation:
            raise RetryableError(
                f"statement of {span}: another run has signed it meanwhile; run again"
            ) from None
        signed = statements.latest(connection, span.kind, span.hours.start)
        assert signed is not None
        run.counts = {"statement_id": signed.statement_id, "root": signed.root}
        return made, signed, True


def verify_statement(
    engine: Engine, span: Span, *, root: str | None, advance: Advance, now: datetime
) -> Verdict:
    """Compares the latest signed statement with the same totals and digests of now.

    Args:
        engine, span: what to verify.
        root: the digest that was handed over when it was signed; None: the stored one is trusted.
        advance, now: see ``make_statement``.

    Raises:
        UsageError: no statement of the span is signed.
    """
    with (
        engine.run("statement verify", span.hours) as run,
        engine.connect() as connection,
    ):
        moment = statements.begin_snapshot(connection)
        signed = statements.latest(connection, span.kind, span.hours.start)
        if signed is None:
            raise UsageError(
                f"statement of {span}: expected a signed one to verify, got none; "
                f"sign it first: billing-etl statement --{span.kind} {span.label} --sign"
            )
        made = read_span(
            connection, engine.settings, span, moment, now, _signed_rows(signed), advance
        )
        verdict = _judge(connection, span, signed, made)
        if root is not None and root.lower() != signed.root:
            verdict.altered.append(f"root: handed over {root.lower()}, stored {signed.root}")
        run.counts = {
            "statement_id": signed.statement_id,
            "changed_hours": len(verdict.changes),
            "unchanged": verdict.is_unchanged,
            "explained": verdict.is_explained,
        }
        return verdict


def _signed_rows(signed: Signed | None) -> dict[str, dict[str, int]]:
    """Rows that were signed of append-only tables, per hour."""
    if signed is None:
        return {}
    return {
        hour: {table: tables[table].rows for table in APPEND_ONLY}
        for hour, tables in signed.inputs.items()
    }


def _judge(connection: Connection, span: Span, signed: Signed, made: Made) -> Verdict:
    if signed.document["form"] != FORM:
        raise TerminalError(
            f"statement of {span}: statement {signed.statement_id} is of form "
            f"{signed.document['form']}, expected {FORM}; verify it with the revision that made it"
        )
    since = datetime.fromisoformat(signed.document["made_at"])
    runs = statements.runs_since(connection, span.hours.end, since)
    changes: list[HourChange] = []
    altered = _altered(signed)
    for hour in span.hours:
        label = str(hour)
        before = signed.inputs[label]
        numbers = _numbers(signed.document["by_hour"][label]["numbers"])
        if made.inputs[label] == before:
            altered += _altered_numbers(label, numbers, made.numbers[label])
            continue
        kept = {
            table: sha256 == before[table].sha256 for table, sha256 in made.first[label].items()
        }
        rows = {table: before[table].rows for table in APPEND_ONLY}
        records = list(statements.records_since(connection, hour, rows, runs))
        tables = table_changes(before, made.inputs[label], kept)
        changes.append(hour_change(label, tables, numbers, made.numbers[label], records))
    return Verdict(span, signed, made.document["root"], changes, altered)


def _altered(signed: Signed) -> list[str]:
    """Whether the stored statement agrees with itself."""
    found = root_of(signed.inputs)
    stored = {signed.root, str(signed.document["root"])}
    return [
        f"statement {signed.statement_id}: root {root}, its digests give {found}"
        for root in sorted(stored - {found})
    ]


def _altered_numbers(
    hour: str, before: Mapping[str, Number], now: Mapping[str, Number]
) -> list[str]:
    """Inputs as signed give the same numbers, so others were written into the statement."""
    return [
        f"{hour}: the statement says {name} {before.get(name, 0)}, its inputs {now.get(name, 0)}"
        for name in sorted((before.keys() | now.keys()) - _DELIVERY_NUMBERS)
        if before.get(name, 0) != now.get(name, 0)
    ]


def _numbers(stated: Mapping[str, int | str]) -> dict[str, Number]:
    return {name: read(value) for name, value in stated.items()}


def _unexplained(verdict: Verdict) -> list[str]:
    """What speaks against signing over a former statement."""
    return verdict.altered + [
        f"{change.hour} changed since statement {verdict.signed.statement_id}: {problem}"
        for change in verdict.changes
        for problem in change.problems
    ]


def _some(reasons: list[str]) -> str:
    more = len(reasons) - _REASONS_SHOWN
    return "; ".join(reasons[:_REASONS_SHOWN]) + (f"; and {more} more" if more > 0 else "")
