"""What a deadline counts from; Airflow finds the class through the plugin, by its path."""

from datetime import UTC, datetime
from typing import Any

from airflow.sdk.definitions.deadline import BaseDeadlineReference, deadline_reference


@deadline_reference()
class RunCreated(BaseDeadlineReference):
    """The moment at which a run is made, which is when it is queued for the first time.

    Airflow's own ``DAGRUN_QUEUED_AT`` is that, too, but of a run that has one which is not over,
    Airflow 3.3 can clear no task (apache/airflow#70368): so nobody could repeat what has failed.
    """

    def _evaluate_with(self, **_: Any) -> datetime:
        """Called by Airflow as it makes a run."""
        return datetime.now(UTC)
