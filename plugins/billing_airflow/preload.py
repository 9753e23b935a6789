"""What every task imports, imported once before tasks are started.

The local executor forks its workers from the scheduler, and those fork a process for each task;
the dag-processor forks one for each reading of a file. What stands in memory then is shared and
need not be imported by each, which took longer than many an hour takes to collect. Executors that
start tasks elsewhere import as before.
"""

from typing import Any

from airflow.listeners import hookimpl


@hookimpl
def on_starting(component: Any) -> None:
    """Airflow calls this in every starting component, in its jobs before they fork."""
    if type(component).__name__ == "Job":
        import billing_airflow.tasks
        import billing_airflow.waiting  # noqa: F401
