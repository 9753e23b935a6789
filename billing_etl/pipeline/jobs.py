"""Jobs: what a run of Airflow, or a request over HTTP, does as a whole.

Each step is recorded under the job's name and its run, whoever runs it (``external_id`` of an
engine); ``pipeline.job_reports`` makes one report of them.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from billing_etl.errors import BillingError, RetryableError, TerminalError, UsageError
from billing_etl.hours import Hour, HourRange, hour_ranges
from billing_etl.pipeline.collect import CollectResult, collect_hour, open_hours, sums
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.served import note_oldest_served
from billing_etl.settings import Settings, Source
from billing_etl.store import archives

COLLECT_AND_RATE: Final = "collect_and_rate"
RECONCILE: Final = "reconcile"

# An exporter that could not be reached for so many hours is down: of the hours that are left only
# the newest is tried, so that a dead exporter does not hold its place for all of them.
UNREACHABLE_HOURS: Final = 2

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What is asked for; jobs are named as their DAGs are.

    Attributes:
        job: ``COLLECT_AND_RATE`` or ``RECONCILE``.
        hours: exactly these; None: what is due.
        sources: ids of the enabled sources to collect; empty: all of them. Reconciling compares
            whole hours, it takes none.
        dry_run: collecting and rating only says what it would change (``pipeline.rehearsal``).
    """

    job: str
    hours: HourRange | None = None
    sources: tuple[str, ...] = ()
    dry_run: bool = False


def plan_collection(
    engine: Engine, own: HourRange, source_ids: Sequence[str], *, with_open: bool
) -> list[tuple[Source, list[Hour]]]:
    """Which source collects which hours, oldest first.

    Args:
        engine: settings and database.
        own: the hours to collect.
        source_ids: of the sources; none: all enabled ones.
        with_open: whether every earlier hour of a source that is still open goes before (C12).

    Raises:
        UsageError: a source is not known or not enabled.
        ArchivedError: the hours begin in archived ones.
    """
    with engine.connect() as connection:
        archives.refuse(connection, own.start, "collect")
    return [
        (source, [*(open_hours(engine, source, before=own.start) if with_open else ()), *own])
        for source in chosen_sources(engine.settings, source_ids)
    ]


def chosen_sources(settings: Settings, source_ids: Sequence[str]) -> list[Source]:
    """The enabled sources of these names; without names, all that are enabled.

    Raises:
        UsageError: a source is not known or not enabled.
    """
    enabled = {source.source_id: source for source in settings.enabled_sources}
    unknown = sorted(set(source_ids) - set(enabled))
    if unknown:
        raise UsageError(f"sources: expected some of {sorted(enabled)}, got {unknown}")
    return [enabled[source_id] for source_id in dict.fromkeys(source_ids) or enabled]


def collect_source(engine: Engine, source: Source, hours: Sequence[Hour]) -> dict[str, Any]:
    """Collects hours of one source, oldest first, each in a transaction of its own.

    An hour that fails does not stop the ones after it; the error comes at the end.

    Raises:
        RetryableError: the exporter could not be reached, or the database was away.
        TerminalError: an hour was refused, and will be again.
    """
    results: list[CollectResult] = []
    unreachable: list[str] = []
    refused: list[str] = []
    label = " ".join(str(part) for part in hour_ranges(hours))
    with engine.run("collect", f"{source.source_id} {label}") as run:
        for hour in hours:
            if len(unreachable) >= UNREACHABLE_HOURS and hour != hours[-1]:
                continue
            try:
                result = collect_hour(engine, source, hour, run.run_id)
            except RetryableError as error:
                unreachable.append(str(error))
            except BillingError as error:
                refused.append(str(error))
            else:
                results.append(result)
                _log.info("%s", result.as_dict())
        run.counts = {"hours": len(results), **sums(results)}
        if results:
            note_oldest_served(engine, source)
        if unreachable:
            raise RetryableError("; ".join(unreachable + refused))
        if refused:
            raise TerminalError("; ".join(refused))
    return {
        "source_id": source.source_id,
        "hours": [str(hour) for hour in hours],
        **sums(results),
    }
