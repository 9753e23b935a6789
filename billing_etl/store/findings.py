"""Results, findings and repairs of reconciliation, as they are kept."""

from collections.abc import Sequence
from typing import Any, Final

from psycopg.types.json import Jsonb

from billing_etl.hours import Hour
from billing_etl.reconciliation import CheckResult, Difference, Examination, Remedy, Trial
from billing_etl.store.database import Connection, one_row, sql

# Of one check of one hour; what goes beyond is counted in one finding more.
_FINDINGS_KEPT: Final = 50
_FURTHER: Final = "further differences"


def begin_repair(
    connection: Connection, hour: Hour, check: str, remedy: Remedy, run_id: int
) -> int:
    """Records a repair before it is begun, and commits that."""
    with connection.transaction():
        (repair_id,) = one_row(
            connection,
            sql("reconciliation/begin_repair"),
            {
                "hour": hour.index,
                "check_name": check,
                "subject": remedy.subject,
                "wrong": remedy.wrong,
                "action": remedy.action,
                "run_id": run_id,
            },
        )
    return int(repair_id)


def end_repair(connection: Connection, repair_id: int, trial: Trial) -> None:
    """Records how a repair ended."""
    outcome = "repaired" if trial.is_cured else "failed"
    parameters = {"repair_id": repair_id, "outcome": outcome, "detail": trial.said}
    _execute(connection, "end_repair", parameters)


def save(
    connection: Connection,
    hour: Hour,
    result: CheckResult,
    first: Examination,
    last: Examination,
    trials: Sequence[Trial],
    run_id: int,
    *,
    deep: bool,
) -> None:
    """Keeps the latest result of a check, and each of its differences as a finding.

    A finding is closed only when this very look could see what it is about, and did not see it.

    Args:
        first, last: what was seen before and after repairs; the same when there were none.
        deep: whether bodies were read.
    """
    with connection.transaction():
        _execute(connection, "save_result", _result_row(hour, result, run_id))
        if last.skipped and not last.differences:
            return
        _keep(connection, hour, result.check, first, (), run_id)
        if last is not first:
            _keep(connection, hour, result.check, last, trials, run_id)
        left = {_subject(result.check, each) for each in last.differences}
        cured = {
            _subject(result.check, difference): trial
            for trial in trials
            if trial.is_cured
            for difference in trial.remedy.cures
        }
        proven = None
        if last.proves is not None:
            proven = tuple(f"{result.check}: {subject}: " for subject in last.proves)
        closing: dict[str | None, list[int]] = {}
        scope = {"hour": hour.index, "check_name": result.check}
        for finding_id, subject, needs_deep in _execute(connection, "open_findings", scope):
            is_further = subject == f"{result.check}: {_FURTHER}"
            if subject in left or (is_further and len(last.differences) > _FINDINGS_KEPT):
                continue
            could_see = deep or not needs_deep
            if proven is not None:
                could_see = could_see and (is_further or subject.startswith(proven))
            if could_see:
                trial = cured.get(subject)
                closing.setdefault(trial.said if trial else None, []).append(int(finding_id))
        for said, finding_ids in closing.items():
            _execute(
                connection,
                "close_findings",
                {
                    "finding_ids": finding_ids,
                    "resolution": said or "clean when checked again",
                    "repair": said,
                    "repaired_run_id": run_id if said else None,
                    "run_id": run_id,
                },
            )


def _keep(
    connection: Connection,
    hour: Hour,
    check: str,
    seen: Examination,
    trials: Sequence[Trial],
    run_id: int,
) -> None:
    """Opens a finding per difference, or leaves the one that is open."""
    scope = {"hour": hour.index, "check_name": check, "run_id": run_id}
    failed = {
        difference.key: trial.said
        for trial in trials
        if not trial.is_cured
        for difference in trial.remedy.cures
    }
    kept: dict[str, dict[str, Any]] = {}
    for difference in seen.differences:
        if len(kept) >= _FINDINGS_KEPT:
            break
        remedy = seen.remedy_of(difference)
        repair = f"would {remedy.action}" if remedy else None
        if difference.key in failed:
            repair = f"failed: {failed[difference.key]}"
        kept.setdefault(_subject(check, difference), _finding_row(hour, check, difference, repair))
    if len(seen.differences) > _FINDINGS_KEPT:
        more = len(seen.differences) - _FINDINGS_KEPT
        further = Difference(_FURTHER, "differences", 0, more)
        kept[f"{check}: {_FURTHER}"] = _finding_row(hour, check, further, None)
    for subject, row in kept.items():
        _execute(connection, "keep_finding", scope | {"subject": subject} | row)


def _subject(check: str, difference: Difference) -> str:
    return f"{check}: {difference.subject}: {difference.measure}"


def _finding_row(
    hour: Hour, check: str, difference: Difference, repair: str | None
) -> dict[str, Any]:
    values = {"expected": difference.expected, "actual": difference.actual}
    numbers = {name: None if isinstance(v, str) else v for name, v in values.items()}
    texts = {f"{name}_value": None if v is None else str(v) for name, v in values.items()}
    return {
        **numbers,
        **texts,
        "message": f"{check} {hour}: {difference}",
        "measure": difference.measure,
        "difference": difference.difference,
        "needs_deep": difference.needs_deep,
        "repair": repair,
    }


def _result_row(hour: Hour, result: CheckResult, run_id: int) -> dict[str, Any]:
    return {
        "hour": hour.index,
        "check_name": result.check,
        "expected": result.expected,
        "actual": result.actual,
        "difference": result.difference,
        "status": result.status,
        "repaired": result.repaired,
        "details": Jsonb([*result.details, *result.repairable]),
        "run_id": run_id,
    }


def _execute(connection: Connection, name: str, parameters: dict[str, Any]) -> Any:
    return connection.execute(sql(f"reconciliation/{name}").encode(), parameters)
