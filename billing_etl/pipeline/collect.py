"""Collecting: from what an exporter serves to the stored state of an hour, in one transaction."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

# httpx and numpy import these two when they first need them: that would be within an hour.
import httpcore  # noqa: F401
import numpy.ma  # noqa: F401

from billing_etl.errors import ArchivedError, BillingError
from billing_etl.hours import Hour, HourRange
from billing_etl.pipeline import early_facts
from billing_etl.pipeline.early_facts import (
    EarlyHour,
    GivenUpError,
    reading_early,
    writing_early,
)
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.fetch import fetch_hour
from billing_etl.pipeline.hour_writer import CollectResult, HourWriter
from billing_etl.settings import Source
from billing_etl.store import archives, collected, erasures
from billing_etl.store.database import Connection, commit_unflushed
from billing_etl.store.prices import follow_region_setting
from billing_etl.store.sources import (
    lock_source,
    node_contexts,
    note_failure,
    prepare_hour,
    register_source,
)

__all__ = [
    "CollectResult",
    "CollectSummary",
    "collect_hour",
    "collect_hours",
    "open_hours",
    "refuse_archived",
    "rehearse_hour",
    "sums",
]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CollectSummary:
    """Results of many source-hours, and the failures that did not stop the others."""

    results: list[CollectResult]
    failures: list[tuple[str, Hour, str]]

    def as_dict(self) -> dict[str, Any]:
        return {
            "results": [result.as_dict() for result in self.results],
            "failures": [
                {"source_id": source_id, "hour": str(hour), "error": error}
                for source_id, hour, error in self.failures
            ],
        }


def collect_hours(
    engine: Engine, sources: Iterable[Source], hours: HourRange | Sequence[Hour]
) -> CollectSummary:
    """Collects source-hours, oldest first; a failed one stops no other."""
    results: list[CollectResult] = []
    failures: list[tuple[str, Hour, str]] = []
    wanted = list(hours)
    with engine.run("collect", _label(wanted)) as run:
        for source in sources:
            for hour in wanted:
                try:
                    results.append(collect_hour(engine, source, hour, run.run_id))
                except BillingError as error:
                    _log.info("%s", error)
                    failures.append((source.source_id, hour, str(error)))
        run.counts.update(CollectSummary(results, failures).as_dict())
    return CollectSummary(results, failures)


def refuse_archived(engine: Engine, hours: HourRange, who: str) -> None:
    """Refuses hours of which some are archived as a whole, before anything of them is done.

    Raises:
        ArchivedError: the range begins in archived hours.
    """
    with engine.connect() as connection:
        archives.refuse(connection, hours.start, who)


def sums(results: Iterable[CollectResult]) -> dict[str, int]:
    """The whole-number counts of several results, added up."""
    total: Counter[str] = Counter()
    for result in results:
        counts = result.as_dict().items()
        total.update({name: value for name, value in counts if type(value) is int})
    return dict(total)


def _label(hours: Sequence[Hour]) -> str:
    return ", ".join(map(str, hours)) if len(hours) < 4 else f"{hours[0]} to {hours[-1]}"


def open_hours(engine: Engine, source: Source, before: Hour) -> list[Hour]:
    """Earlier hours of a source that are partial or were never collected since its first (C12)."""
    with engine.connect() as connection:
        return collected.open_hours(connection, source.source_id, before)


def collect_hour(
    engine: Engine, source: Source, hour: Hour, run_id: int | None = None
) -> CollectResult:
    """Collects one source-hour: everything is written in one transaction, or nothing is.

    Args:
        engine: settings and database.
        source: the source.
        hour: the hour; the running one may be collected too, it stays partial.
        run_id: the run this belongs to; a new one is recorded when it is None.

    Raises:
        BillingError: the exporter could not be read, served another node, or the database
            refused; the stored hour is as it was and the source keeps the error.
    """
    if run_id is None:
        with engine.run("collect", f"{source.source_id} {hour}") as run:
            result = collect_hour(engine, source, hour, run.run_id)
            run.counts = {"hours": 1, **sums([result])}
            return result
    try:
        with engine.connect() as connection:
            archives.refuse(connection, hour, f"collect {source.source_id}")
            lock_source(connection, source.source_id, hour)
            source_key = register_source(connection, source)
            follow_region_setting(connection, source)
            commit_unflushed(connection)  # the rating lock goes before locks of the hour are taken
            prepare_hour(connection, hour, source.lookback_minutes)
            return _read_and_write(connection, engine, source, source_key, hour, run_id)
    except ArchivedError:  # were it noted, the hour would be tried again for ever
        raise
    except BillingError as caught:
        error = _naming(caught, source, hour)
        # The error itself matters more than noting it: the database may be what failed.
        with suppress(BillingError), engine.connect() as connection:
            note_failure(connection, source.source_id, hour, run_id, str(error))
        raise error from caught


def rehearse_hour(
    connection: Connection, engine: Engine, source: Source, hour: Hour, run_id: int
) -> CollectResult:
    """Collects one source-hour in the caller's transaction and commits nothing.

    For whoever wants to know what collecting would do, and rolls it back. The caller holds the
    source, and has prepared the hour; what is written stays to be rated.

    Raises:
        BillingError: as in `collect_hour`.
    """
    try:
        source_key = register_source(connection, source)
        follow_region_setting(connection, source)
        contexts = node_contexts(connection, source_key, hour)
        served = fetch_hour(source, hour, contexts)
        writer = HourWriter(connection, engine, source, source_key, hour, run_id)
        return writer.write(served, None)
    except BillingError as caught:
        raise _naming(caught, source, hour) from caught


def _read_and_write(
    connection: Connection,
    engine: Engine,
    source: Source,
    source_key: int,
    hour: Hour,
    run_id: int,
) -> CollectResult:
    """Reads the hour; of a large one the database does meanwhile what it can."""
    contexts = node_contexts(connection, source_key, hour)
    stored_samples = collected.stored_samples(connection, source_key, hour)
    name = erasures.stored_name(connection)
    commit_unflushed(connection)
    writer = HourWriter(connection, engine, source, source_key, hour, run_id)
    of = EarlyHour(engine, source.source_id, source_key, hour, contexts, source.interval_seconds)
    early, stored = None, None
    if stored_samples is None and of.expected_samples >= early_facts.LEAST_SAMPLES:
        with writing_early(connection, of) as writing:
            served = fetch_hour(source, hour, contexts, writing.take, name)
            early = writing.finish(served, writer.policy)
    elif stored_samples and stored_samples >= early_facts.LEAST_SAMPLES:
        with reading_early(connection, of, stored_samples) as reading:
            served = fetch_hour(source, hour, contexts, stored_name=name)
            stored = reading.result()
    else:
        served = fetch_hour(source, hour, contexts, stored_name=name)
    if early is not None:
        try:
            return writer.write(served, None, early)
        except GivenUpError as error:
            _log.warning("source %s: %s; written again as a whole", source.source_id, error)
            connection.rollback()
    prices = None
    if stored_samples is None:
        prices = writer.prices(served)
        connection.commit()
    return writer.write(served, prices, stored=stored)


def _naming(error: BillingError, source: Source, hour: Hour) -> BillingError:
    """The error with source and hour in its message; the database knows neither."""
    if str(error).startswith(f"source {source.source_id}"):
        return error
    return type(error)(f"source {source.source_id}, hour {hour}: {error}")
