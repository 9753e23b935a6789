"""Jobs in this process: one at a time, in the order they were asked for."""

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

from billing_etl.errors import BillingError
from billing_etl.hours import Hour, HourRange
from billing_etl.http.runner import BusyError, JobUnderWayError, Phase, RunState
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.jobs import (
    RECONCILE,
    JobRequest,
    chosen_sources,
    collect_source,
    plan_collection,
)
from billing_etl.pipeline.rate import rate_until
from billing_etl.pipeline.reconcile import reconcile_hours
from billing_etl.pipeline.rehearsal import Rehearsal, rehearse
from billing_etl.settings import Settings

# Hours that `reconcile` looks back unless told otherwise: as far as exporters remember.
LOOKBACK_HOURS: Final = 72
# Jobs that may wait or run; a caller who is refused asks again later.
MAX_PENDING: Final = 20
# Ended runs whose state is kept; of older ones the records of their steps are left.
MAX_REMEMBERED: Final = 1000

# What does a job; gives what a dry run found.
Work: TypeAlias = Callable[[Engine, JobRequest], Rehearsal | None]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Run:
    request: JobRequest
    future: Future[Rehearsal | None]


class LocalJobs:
    """Runs jobs in one thread; see ``JobRunner``."""

    def __init__(self, settings: Settings, work: Work) -> None:
        self._settings, self._work = settings, work
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "jobs")

    def start(self, request: JobRequest, caller: str) -> str:
        """See ``JobRunner``."""
        with self._lock:
            pending = {run_id: run for run_id, run in self._runs.items() if not run.future.done()}
            for run_id, run in pending.items():
                if run.request == request:
                    raise JobUnderWayError(run_id)
            if len(pending) >= MAX_PENDING:
                raise BusyError(
                    f"expected fewer than {MAX_PENDING} jobs that wait, got {len(pending)}; "
                    "ask again when one has ended"
                )
            run_id = f"serve__{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}__{secrets.token_hex(4)}"
            engine = Engine(self._settings, external_id=f"{request.job} {run_id} serve")
            _log.info("%s: %s, asked for by %s", run_id, request, caller)
            self._runs[run_id] = _Run(request, self._thread.submit(self._run, engine, request))
            while len(self._runs) > MAX_REMEMBERED:
                self._runs.popitem(last=False)
        return run_id

    def _run(self, engine: Engine, request: JobRequest) -> Rehearsal | None:
        try:
            return self._work(engine, request)
        except BillingError as error:
            _log.error("%s: %s", engine.external_id, error)
            raise
        except Exception:
            _log.exception("%s", engine.external_id)
            raise

    def state(self, job: str, run_id: str) -> RunState | None:
        """See ``JobRunner``."""
        with self._lock:
            run = self._runs.get(run_id)
        if run is None or run.request.job != job:
            return None
        if not run.future.done():
            return RunState("running" if run.future.running() else "queued")
        if run.future.cancelled():
            return RunState("failed", "stopped before it began")
        error = run.future.exception()
        if error is None:
            rehearsal = run.future.result()
            if rehearsal is None:
                return RunState("success")
            incomplete = rehearsal.incomplete()
            phase: Phase = "failed" if incomplete else "success"
            return RunState(phase, incomplete, rehearsal.summary())
        note = str(error) if isinstance(error, BillingError) else type(error).__name__
        return RunState("failed", note)

    def run_link(self, job: str, run_id: str) -> None:
        """See ``JobRunner``: there is nothing to look at but ``/v1/status``."""

    def log_link(self, external_id: str) -> None:
        """See ``JobRunner``: all jobs write to the log of this process."""

    def stop(self) -> None:
        """Lets the running job come to its end; those that wait are not begun."""
        self._thread.shutdown(cancel_futures=True)


def run_job(engine: Engine, request: JobRequest) -> Rehearsal | None:
    """Does a job in this process, for hours that are due when it begins unless it names some.

    A dry run gives what would change. Without hours it is for the hour that ended last.

    Raises:
        BillingError: a step of the job failed as a whole. A source that failed is only recorded.
    """
    now = Hour.of(datetime.now(UTC))
    if request.job == RECONCILE:
        reconcile_hours(engine, request.hours or HourRange(Hour(now.index - LOOKBACK_HOURS), now))
        return None
    own = request.hours or HourRange.single(now.previous)
    if request.dry_run:
        return rehearse(engine, chosen_sources(engine.settings, request.sources), own)
    with engine.kept():
        plan = plan_collection(engine, own, request.sources, with_open=request.hours is None)
        for source, hours in plan:
            try:
                collect_source(engine, source, hours)
            except BillingError as error:  # one failing source keeps no other back
                _log.warning("%s", error)
        if plan:
            rate_until(engine, own.end)
    return None
