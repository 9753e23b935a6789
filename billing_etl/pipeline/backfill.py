"""Backfills: many hours of many sources again, in either order, several sources at once."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from billing_etl.errors import BillingError
from billing_etl.hours import HourRange
from billing_etl.pipeline.collect import refuse_archived
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.jobs import collect_source
from billing_etl.pipeline.rate import RateResult, rate_until
from billing_etl.settings import Source

Order: TypeAlias = Literal["oldest", "newest"]


@dataclass(frozen=True, slots=True)
class BackfillResult:
    """What was collected per source, and rated; ``failures``: sources that failed, and why."""

    hours: HourRange
    collected: list[dict[str, Any]]
    failures: list[tuple[str, str]]
    rated: RateResult

    def as_dict(self) -> dict[str, Any]:
        return {
            "dry_run": False,
            "hours": str(self.hours),
            "collected": self.collected,
            "failures": [
                {"source_id": source_id, "error": error} for source_id, error in self.failures
            ],
            "rated": self.rated.as_dict(),
        }


def backfill(
    engine: Engine,
    sources: Sequence[Source],
    hours: HourRange,
    *,
    order: Order = "oldest",
    parallel: int = 1,
) -> BackfillResult:
    """Collects hours again as the DAG does, then rates once. The order changes no result (C14).

    Args:
        engine: settings and database.
        sources: of these; a failed one stops no other.
        hours: the hours, half-open.
        order: which hour goes first.
        parallel: sources at the same time; the hours of one go one after the other (C15).

    Raises:
        ArchivedError: the range begins in archived hours; nothing was done.
        BillingError: rating failed; what was collected stays.
    """
    refuse_archived(engine, hours, "backfill")
    wanted = list(hours) if order == "oldest" else list(hours)[::-1]

    def collect(source: Source) -> dict[str, Any] | BillingError:
        try:
            return collect_source(engine, source, wanted)
        except BillingError as error:
            return error

    with engine.kept():
        with ThreadPoolExecutor(parallel, "backfill") as threads:
            outcomes = list(threads.map(collect, sources))
        rated = rate_until(engine, hours.end)
    collected, failures = [], []
    for source, outcome in zip(sources, outcomes, strict=True):
        if isinstance(outcome, BillingError):
            failures.append((source.source_id, str(outcome)))
        else:
            collected.append(outcome)
    return BackfillResult(hours, collected, failures, rated)
