"""Reconciles hours: each check, its safe repair, the check again; what remains is a finding."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from billing_etl.delivery import object_store_from
from billing_etl.errors import BillingError
from billing_etl.hours import Hour, HourRange
from billing_etl.pipeline import retention
from billing_etl.pipeline.checks import CHECKS, Check, Inspection
from billing_etl.pipeline.engine import Engine
from billing_etl.reconciliation import CheckResult, Difference, Examination, concluded
from billing_etl.store import deliveries, reconciliations

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
    engine: Engine, hours: HourRange, *, repair: bool = True, now: datetime | None = None
) -> ReconcileResult:
    """Runs all checks over a range, oldest hour first, and stores every result.

    A difference is not an error: it is in the result, in ``reconciliations`` and an open finding.

    Args:
        repair: whether what is safely repairable is repaired.
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
        )
        for hour in hours:
            results += [_reconcile(inspection, hour, check, repair) for check in CHECKS]
        dropped = retention.drop_payloads(connection, settings, inspection.now) if repair else 0
        result = ReconcileResult(results, dropped)
        run.counts = {
            status: sum(check.status == status for check in results)
            for status in ("clean", "repaired", "different", "skipped")
        } | {"payloads_dropped": dropped}
    return result


def _reconcile(inspection: Inspection, hour: Hour, check: Check, repair: bool) -> CheckResult:
    examination = _examine(inspection, hour, check)
    repairs: list[str] = []
    if repair and check.repair is not None and examination.to_repair:
        failures: list[str] = []
        for subject in examination.to_repair:
            try:
                repairs.append(check.repair(inspection, hour, subject))
            except BillingError as error:  # one that cannot be repaired holds no other back
                failures.append(f"repair failed: {error}")
        examination = _examine(inspection, hour, check)
        examination = replace(examination, notes=(*examination.notes, *failures))
    result = concluded(str(hour), check.name, examination, repairs)
    differing = next((m for m in examination.measures if m.difference), None)
    reconciliations.save(inspection.connection, hour, result, differing, inspection.run_id)
    log = _log.error if result.status == "different" else _log.info
    log("%s %s: %s (%s)", hour, check.name, result.status, result.difference)
    return result


def _examine(inspection: Inspection, hour: Hour, check: Check) -> Examination:
    """Looks at one moment of the database, so that work going on beside it is no difference."""
    try:
        with inspection.connection.transaction():
            inspection.connection.execute(
                "set transaction isolation level repeatable read, read only"
            )
            return check.examine(inspection, hour)
    except BillingError as error:
        return Examination(differences=(Difference(check.name, "an answer", "one", str(error)),))
