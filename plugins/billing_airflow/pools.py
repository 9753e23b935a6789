"""The project makes its own pool: a task whose pool is missing waits for ever, without a word."""

import logging
import os
from typing import Any, Final

from airflow.listeners import hookimpl

EXPORTER_POOL: Final = "billing_exporters"
DEFAULT_SLOTS: Final = 2  # two source-hours at once fill two cores; four are slower

_log = logging.getLogger(__name__)


@hookimpl
def on_starting(component: Any) -> None:
    """Airflow calls this in every starting component; those with a database make the pool.

    They are Airflow's jobs: scheduler, dag-processor, triggerer. A task is none, and has no
    database.
    """
    if type(component).__name__ == "Job":
        create_missing_pool()


def create_missing_pool() -> None:
    """Makes the pool of ``BILLING_EXPORTER_SLOTS`` slots; one that exists is left as it is.

    An operator may therefore resize the pool in the UI, and a restart keeps that.
    """
    # Imported here: DAG files import this module for the pool's name, without the database.
    from airflow.models.pool import Pool
    from sqlalchemy.exc import IntegrityError

    if Pool.get_pool(EXPORTER_POOL) is not None:
        return
    try:
        Pool.create_or_update_pool(
            EXPORTER_POOL,
            slots=exporter_slots(),
            description="Source-hours collected at the same time, over all exporters.",
            include_deferred=False,
        )
    except IntegrityError:
        return  # another component was a moment earlier
    _log.info("created pool %s", EXPORTER_POOL)


def exporter_slots() -> int:
    """Slots of a new pool.

    Raises:
        ValueError: ``BILLING_EXPORTER_SLOTS`` is not a whole number above zero.
    """
    text = os.environ.get("BILLING_EXPORTER_SLOTS", str(DEFAULT_SLOTS))
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"BILLING_EXPORTER_SLOTS: expected a whole number above 0, got {text!r}")
    return int(text)
