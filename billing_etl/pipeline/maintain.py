"""Maintenance: partitions ahead, archive, retention, the arrears sweep; each step may be run again.

A step does in bounded transactions what is due and records its counts. A dry run tells the same
and writes nothing, not even a run record.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from billing_etl.errors import BillingError
from billing_etl.hours import Hour
from billing_etl.pipeline import archive, arrears, retention
from billing_etl.pipeline.engine import Engine
from billing_etl.store import maintenance

# Collecting makes the partitions that it needs; these spare it that, also over a weekend without
# maintenance. Many more would cost planning time in every statement.
DAYS_AHEAD: Final = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step did, or would do.

    Attributes:
        counts: whole numbers by what they count; also what the run record keeps.
        details: one entry per table, day or account, bounded.
    """

    step: str
    counts: dict[str, int]
    details: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {"step": self.step, "counts": self.counts, "details": self.details}


@dataclass(frozen=True, slots=True)
class Work:
    """What a step is given; ``run_id`` None: a dry run."""

    engine: Engine
    now: datetime
    run_id: int | None

    @property
    def dry_run(self) -> bool:
        return self.run_id is None


Step: TypeAlias = Callable[[Work], StepResult]


def make_partitions(work: Work) -> StepResult:
    """Makes the partitions of today and the days after it, where they are missing."""
    today = Hour.of(work.now).index // 24
    days = range(today, today + DAYS_AHEAD + 1)
    with work.engine.connect() as connection:
        connection.autocommit = True
        missing = maintenance.missing_partitions(connection, days)
        if not work.dry_run:
            for day in missing:
                maintenance.make_partitions(connection, day)
                _log.info("partitions of %s made", str(Hour(day * 24))[:10])
    return StepResult("partitions", {"days": len(missing)})


def archive_facts(work: Work) -> StepResult:
    """Archives the facts of days older than their retention, and drops them here."""
    days = archive.archive_days(work.engine, work.now, work.run_id)
    if work.run_id is not None:
        archive.note_held(work.engine, days, work.run_id)
    went = [day for day in days if not day.held]
    return StepResult(
        "archive",
        {
            "days": len(went),
            "facts": sum(day.facts for day in went),
            "objects": sum(day.objects for day in went),
            "bytes": sum(day.bytes for day in went),
            "held": len(days) - len(went),
        },
        [day.as_dict() for day in days],
    )


def apply_retention(work: Work) -> StepResult:
    """Drops what is old and of no use any more, by the table of docs/maintenance.md."""
    with work.engine.connect() as connection:
        connection.autocommit = True
        dropped = retention.drop_all(
            connection, work.engine.settings, work.now, dry_run=work.dry_run
        )
    return StepResult(
        "retention",
        {each.name: each.rows for each in dropped},
        [each.as_dict() for each in dropped],
    )


def sweep_arrears(work: Work) -> StepResult:
    """Suspends accounts whose arrears last longer than BILLING_ARREARS_GRACE (R6)."""
    count, shown = arrears.sweep(work.engine, work.now, work.run_id)
    return StepResult("arrears", {"suspended": count}, [debtor.as_dict() for debtor in shown])


STEPS: Final[dict[str, Step]] = {
    "partitions": make_partitions,
    "archive": archive_facts,
    "retention": apply_retention,
    "arrears": sweep_arrears,
}
"""In their order; each goes without the others."""


def run_step(
    engine: Engine,
    name: str,
    *,
    dry_run: bool = False,
    now: datetime | None = None,
) -> StepResult:
    """Runs one step of ``STEPS``, recorded as the run ``maintain <name>``.

    Args:
        engine: settings and database.
        name: of the step.
        dry_run: only tells what would be done.
        now: the wall clock.

    Raises:
        BillingError: the database or the object store is away, or something refuses; what was
            done by then stays, and the next run goes on from there.
    """
    now = now or datetime.now(UTC)
    if dry_run:
        return STEPS[name](Work(engine, now, None))
    with engine.run(f"maintain {name}") as run:
        result = STEPS[name](Work(engine, now, run.run_id))
        run.counts = dict(result.counts)
    _log.info("%s", result.as_dict())
    return result


def maintain(
    engine: Engine,
    names: Sequence[str] = tuple(STEPS),
    *,
    dry_run: bool = False,
    now: datetime | None = None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[list[StepResult], list[BillingError]]:
    """Runs steps in the order of ``STEPS``; one that fails does not keep the others from it.

    ``advance`` is called after each.
    """
    results: list[StepResult] = []
    errors: list[BillingError] = []
    for name in STEPS:
        if name in names:
            try:
                results.append(run_step(engine, name, dry_run=dry_run, now=now))
            except BillingError as error:
                errors.append(type(error)(f"maintain {name}: {error}"))
            advance()
    return results, errors
