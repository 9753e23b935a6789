"""What runs jobs: Airflow, or a thread of this process."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from billing_etl.errors import BillingError
from billing_etl.pipeline.jobs import JobRequest

Phase: TypeAlias = Literal["queued", "running", "success", "failed"]


class JobUnderWayError(BillingError):
    """The same job is queued or running; ``run_id`` is its run."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"expected no run of the same job under way, got {run_id}; "
            f"wait for it: /v1/status?run_id={run_id}"
        )
        self.run_id = run_id


class UnknownJobError(BillingError):
    """There is nothing that would run the job."""


class BusyError(BillingError):
    """Too many jobs wait already."""


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run is.

    Attributes:
        phase: ``failed`` says that the run failed, whatever its steps recorded.
        note: what a person should know: why it waits, or why it failed.
        would_change: sums of a dry run that ended. It failed with sums when these do not hold all.
    """

    phase: Phase
    note: str = ""
    would_change: dict[str, Any] | None = None

    @property
    def ended(self) -> bool:
        return self.phase in {"success", "failed"}


class JobRunner(Protocol):
    """Starts jobs and tells where they are; both may take a moment."""

    def start(self, request: JobRequest, caller: str) -> str:
        """Starts a job and gives the id of its run.

        Raises:
            JobUnderWayError: the same job has not ended yet.
            UnknownJobError: nothing runs such a job.
            BusyError: too many wait.
            UsageError: the job is refused as it is asked for.
        """

    def state(self, job: str, run_id: str) -> RunState | None:
        """Where a run is; None: it is not known, or not any more."""

    def run_link(self, job: str, run_id: str) -> str | None:
        """Where a person looks at a run, as a path beside ``/billing``; None: there is no page."""

    def log_link(self, external_id: str) -> str | None:
        """Where a person reads the log of a recorded step, which is ``<job> <run> <step>``."""
