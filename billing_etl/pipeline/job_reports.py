"""What became of a job, read from the records of its steps; and what that says of health."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias

from billing_etl.errors import BillingError, RetryableError, UsageError
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.jobs import COLLECT_AND_RATE, RECONCILE
from billing_etl.store import jobs
from billing_etl.store.jobs import Step

Status: TypeAlias = Literal["queued", "running", "ok", "partial", "error"]

# Jobs as they are called over HTTP, by the name of their DAG, which is that of their records.
JOB_NAMES: Final = {COLLECT_AND_RATE: "collect-and-rate", RECONCILE: "reconcile"}

# A run every hour: one that is late is no alarm yet, the second one is.
SILENCE: Final = timedelta(hours=2)
# A task is ended after two hours. A step that still counts as running later was killed.
ABANDONED: Final = timedelta(hours=3)

# The step that each job ends with.
_LAST_STEP: Final = {COLLECT_AND_RATE: "rate", RECONCILE: "reconcile"}


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What a job did for one source, or for some hours of it."""

    source_id: str
    hours: str
    status: Status
    processed_samples: int
    written_minutes: int
    replayed_minutes: int
    error: str


@dataclass(frozen=True, slots=True)
class JobReport:
    """One run of a job.

    Attributes:
        processed_samples: samples that exporters served.
        written_minutes: facts (series and minute) written, changed or removed.
        replayed_minutes: facts that stood already as they are.
        status: ``ok``; ``partial``: it completed, but a source failed or a difference is left;
            ``error``: nothing could be collected, or rating or reconciling failed.
        error: one line, empty when there is nothing to say.
    """

    job: str
    run_id: str | None
    started_at: datetime | None
    finished_at: datetime | None
    processed_samples: int
    written_minutes: int
    replayed_minutes: int
    status: Status | None
    error: str
    sources: tuple[SourceReport, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


NEVER: Final = JobReport("", None, None, None, 0, 0, 0, None, "")


def latest_job(engine: Engine, now: datetime) -> JobReport:
    """The latest run of any job; ``NEVER`` when there was none."""
    with engine.connect() as connection:
        found = jobs.latest(connection, list(JOB_NAMES))
        steps = [] if found is None else jobs.steps(connection, *found)
    return NEVER if found is None else report_of(*found, steps, now)


def job_run(engine: Engine, job: str, run_id: str, now: datetime) -> JobReport | None:
    """One run of a job; None when it has left no record."""
    with engine.connect() as connection:
        steps = jobs.steps(connection, job, run_id)
    return report_of(job, run_id, steps, now) if steps else None


def report_of(job: str, run_id: str, steps: Sequence[Step], now: datetime) -> JobReport:
    """Makes one report of the latest attempt of each step of a run; there is at least one step."""
    sources = tuple(_source(step, now) for step in steps if step.command == "collect")
    status = _status(job, steps, sources, now)
    is_open = status == "running"
    finished = [step.finished_at for step in steps if step.finished_at is not None]
    return JobReport(
        job=JOB_NAMES[job],
        run_id=run_id,
        started_at=min(step.started_at for step in steps),
        finished_at=None if is_open or not finished else max(finished),
        processed_samples=sum(source.processed_samples for source in sources),
        written_minutes=sum(source.written_minutes for source in sources),
        replayed_minutes=sum(source.replayed_minutes for source in sources),
        status=status,
        error="" if is_open else _error(steps, now),
        sources=sources,
    )


def _source(step: Step, now: datetime) -> SourceReport:
    source_id, _, hours = (step.hours or "").partition(" ")
    return SourceReport(
        source_id=source_id,
        hours=hours,
        status=_step_status(step, now),
        processed_samples=step.counts.get("samples", 0),
        written_minutes=step.counts.get("facts_written", 0),
        replayed_minutes=step.counts.get("facts_unchanged", 0),
        error=_step_error(step, now),
    )


def _status(
    job: str, steps: Sequence[Step], sources: Sequence[SourceReport], now: datetime
) -> Status:
    last = [step for step in steps if step.command == _LAST_STEP[job]]
    states = [_step_status(step, now) for step in steps]
    if "running" in states:
        return "running"
    if not last:
        # Between two steps; or nobody goes on with it.
        newest = max(step.finished_at or step.started_at for step in steps)
        return "running" if now - newest < ABANDONED else "error"
    if any(_step_status(step, now) == "error" for step in last):
        return "error"
    failed = sum(source.status == "error" for source in sources)
    if job == COLLECT_AND_RATE and failed and failed == len(sources):
        return "error"
    return "partial" if failed or any(_differences(step) for step in last) else "ok"


def _step_status(step: Step, now: datetime) -> Status:
    if step.status == "running":
        return "running" if now - step.started_at < ABANDONED else "error"
    return "ok" if step.status == "success" else "error"


def _step_error(step: Step, now: datetime) -> str:
    if step.status == "running" and now - step.started_at >= ABANDONED:
        return f"{step.command}: its process ended without a word; it is done again by a later run"
    return step.error or ""


def _differences(step: Step) -> int:
    return int(step.counts.get("different", 0)) if step.command == "reconcile" else 0


def _error(steps: Sequence[Step], now: datetime) -> str:
    lines = [text for step in steps if (text := _step_error(step, now))]
    lines += [
        f"reconcile: {left} checks left a difference; see billing.findings"
        for step in steps
        if (left := _differences(step))
    ]
    return "; ".join(lines)


def health(engine: Engine, since: datetime, now: datetime) -> tuple[bool, str]:
    """Whether collecting and rating goes well, and if not, why; for the public, without details.

    It is degraded when the last run of ``collect_and_rate`` that ended was not ``ok``, when none
    has ended for ``SILENCE``, and when the database is away. Without an enabled source there is
    nothing that could go wrong.

    Args:
        engine: settings and database.
        since: a run cannot be missing earlier, such as the start of this process.
        now: the wall clock.
    """
    if not engine.settings.enabled_sources:
        return True, ""
    try:
        with engine.connect() as connection:
            found = jobs.latest(connection, [COLLECT_AND_RATE], ended_with=["rate"])
            steps = [] if found is None else jobs.steps(connection, *found)
    except RetryableError:
        return False, "the database cannot be reached"
    except UsageError:
        return False, "the configuration is not usable; see the log"
    except BillingError:
        return False, "the database refuses; see the log"
    if found is None:
        if now - since < SILENCE:
            return True, ""
        return False, f"collect-and-rate has not run since {_at(since)}"
    report = report_of(*found, steps, now)
    if report.status in {"partial", "error"}:
        return False, f"collect-and-rate {report.run_id} ended with {report.status}"
    newest = max(step.finished_at or step.started_at for step in steps)
    if now - newest >= SILENCE:
        return False, f"collect-and-rate has not ended since {_at(newest)}"
    return True, ""


def check_database(engine: Engine) -> None:
    """Asks the database for what a migrated one has.

    Raises:
        BillingError: it is away, refuses, or is not migrated.
    """
    with engine.connect() as connection:
        jobs.latest(connection, list(JOB_NAMES))


def _at(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"
