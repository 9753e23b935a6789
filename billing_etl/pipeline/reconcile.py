"""Reconciles hours: each check, its safe repair, the check again; what remains is a finding."""

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import psycopg

from billing_etl.delivery import object_store_from
from billing_etl.errors import BillingError
from billing_etl.hours import Hour, HourRange
from billing_etl.pipeline import retention
from billing_etl.pipeline.checks import CHECKS, Check, Inspection
from billing_etl.pipeline.engine import Engine
from billing_etl.reconciliation import (
    CheckResult,
    Difference,
    Examination,
    Remedy,
    Trial,
    concluded,
    tried,
)
from billing_etl.store import archives, deliveries, findings
from billing_etl.store.database import Connection

# Hours that are looked at side by side: while one waits for the exporter, the object store or the
# database, another computes. More would only hold more.
HOURS_AT_ONCE: Final = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """Every check of every hour; ``clean``: nothing is left that differs.

    ``payloads_dropped``: sealed payloads that nobody needs any more, see ``pipeline.retention``.
    """

    checks: list[CheckResult]
    payloads_dropped: int = 0

    @property
    def clean(self) -> bool:
        return all(check.status != "different" for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        return {
            "clean": self.clean,
            "payloads_dropped": self.payloads_dropped,
            "checks": [check.as_dict() for check in self.checks],
        }


def reconcile_hours(
    engine: Engine,
    hours: HourRange,
    *,
    repair: bool = True,
    deep: bool = False,
    now: datetime | None = None,
) -> ReconcileResult:
    """Runs all checks over a range, oldest hour first, and stores every result.

    A difference is not an error: it is in the result, in ``reconciliations`` and an open finding.

    Args:
        repair: whether what is safely repairable is repaired; else what would be is told.
        deep: whether the bodies of sealed and stored objects are read, too.
        now: the wall clock.

    Raises:
        BillingError: the database is away.
    """
    settings = engine.settings
    results: list[CheckResult] = []
    with (
        engine.run("reconcile", hours) as run,
        engine.connect() as connection,
        ThreadPoolExecutor(settings.s3_concurrency, "reconcile") as pool,
    ):
        connection.autocommit = True
        inspection = Inspection(
            engine,
            connection,
            object_store_from(settings) if settings.s3_enabled else None,
            pool,
            tuple(deliveries.meters(connection)),
            now or datetime.now(UTC),
            run.run_id,
            deep,
        )
        reconciler = _Reconciler(inspection, repair=repair)
        with _looking_ahead(inspection, hours) as looks:
            for hour, look in zip(hours, looks, strict=True):
                results += reconciler.reconcile(hour, look)
        dropped = retention.drop_payloads(connection, settings, inspection.now) if repair else 0
        result = ReconcileResult(results, dropped)
        run.counts = {
            status: sum(check.status == status for check in results)
            for status in ("clean", "repaired", "different", "skipped")
        } | {"payloads_dropped": dropped}
    return result


# --- looking -----------------------------------------------------------------------------------


class _Look:
    """What every check sees of an hour, looked at by another thread; may be asked for once."""

    def __init__(self, future: Future[list[Examination]], began_after: int) -> None:
        self._future = future
        self.began_after = began_after

    def result(self) -> list[Examination]:
        return self._future.result()


@contextmanager
def _looking_ahead(inspection: Inspection, hours: Iterable[Hour]) -> Iterator[Iterator[_Look]]:
    """Looks at hours, in their order, a few of them before they are asked for.

    A look knows how many repairs had been made when it began: one that is older than a repair may
    have missed what that did, and is not used.
    """
    with ExitStack() as stack:
        idle: deque[Inspection] = deque()
        for _ in range(HOURS_AT_ONCE):
            connection = stack.enter_context(inspection.engine.connect())
            connection.autocommit = True
            idle.append(replace(inspection, connection=connection))
        pool = ThreadPoolExecutor(HOURS_AT_ONCE, "look")
        stack.callback(pool.shutdown, cancel_futures=True)

        def look(hour: Hour) -> list[Examination]:
            own = idle.popleft()
            try:
                return [_examine(own, hour, check) for check in CHECKS]
            finally:
                idle.append(own)

        def looks() -> Iterator[_Look]:
            ahead: deque[_Look] = deque()
            for hour in hours:
                ahead.append(_Look(pool.submit(look, hour), inspection.repairs.made))
                if len(ahead) >= HOURS_AT_ONCE:
                    yield ahead.popleft()
            yield from ahead

        yield looks()


def _examine(inspection: Inspection, hour: Hour, check: Check) -> Examination:
    """Looks at one moment of the database, so that work going on beside it is no difference."""
    try:
        with inspection.connection.transaction():
            inspection.connection.execute(
                "set transaction isolation level repeatable read, read only"
            )
            archive = archives.of_hour(inspection.connection, hour) if check.needs_facts else None
            if archive is not None and archive.dropped_at is not None:
                return Examination(notes=(str(archive),), skipped=True)
            return check.examine(inspection, hour)
    except Exception as error:
        failed = Difference(check.name, "an answer", "one", _told(error))
        return Examination(differences=(failed,), proves=frozenset())


def _told(error: Exception) -> str:
    """What an error says; what is damaged in one place must not keep the rest from being checked.

    Raises:
        psycopg.Error: the database is away, so there is nothing to be checked.
    """
    if isinstance(error, BillingError):
        return str(error)
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        raise error
    _log.exception("reconcile: expected data that can be read, got %s", type(error).__name__)
    return f"{type(error).__name__}: {error}".splitlines()[0]


# --- repairing ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Reconciler:
    inspection: Inspection
    repair: bool

    @property
    def connection(self) -> Connection:
        return self.inspection.connection

    def reconcile(self, hour: Hour, look: _Look) -> list[CheckResult]:
        """All checks of an hour, each on what the repairs before it have left."""
        early = look.result()
        results = []
        for check, examination in zip(CHECKS, early, strict=True):
            if self.inspection.repairs.made > look.began_after:
                examination = _examine(self.inspection, hour, check)
            results.append(self._settle(hour, check, examination))
        return results

    def _settle(self, hour: Hour, check: Check, first: Examination) -> CheckResult:
        last, trials = first, list[Trial]()
        if self.repair and check.repair is not None and first.remedies:
            last, trials = self._try(hour, check, first)
        result = concluded(str(hour), check.name, last, trials)
        run_id, deep = self.inspection.run_id, self.inspection.deep
        findings.save(self.connection, hour, result, first, last, trials, run_id, deep=deep)
        log = _log.error if result.status == "different" else _log.info
        log("%s %s: %s (%s)", hour, check.name, result.status, result.difference)
        return result

    def _try(self, hour: Hour, check: Check, first: Examination) -> tuple[Examination, list[Trial]]:
        """Tries every remedy, each recorded before it is begun, and looks again."""
        assert check.repair is not None
        begun: list[tuple[int, Remedy, str]] = []
        for remedy in first.remedies:
            repair_id = findings.begin_repair(
                self.connection, hour, check.name, remedy, self.inspection.run_id
            )
            self.inspection.repairs.made += 1
            try:
                said = check.repair(self.inspection, hour, remedy.subject)
            except Exception as error:  # one that cannot be repaired holds no other back
                said = _told(error)
            begun.append((repair_id, remedy, said))
        last = _examine(self.inspection, hour, check)
        trials = [tried(remedy, said, last) for _, remedy, said in begun]
        for (repair_id, _, _), trial in zip(begun, trials, strict=True):
            findings.end_repair(self.connection, repair_id, trial)
        return last, trials
