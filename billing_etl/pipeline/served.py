"""How far back an exporter still serves: what is not settled by then is lost (docs/alerts.md)."""

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from billing_etl.errors import BillingError
from billing_etl.exporter import ExporterClient
from billing_etl.hours import NS_PER_HOUR
from billing_etl.pipeline.engine import Engine
from billing_etl.settings import Source
from billing_etl.store import alerts

# Runs are an hour apart: each asks once, also when it does many hours, and a replay does not.
ASK_AGAIN_AFTER: Final = timedelta(minutes=50)
# What is served further back is never short.
_FURTHEST_NS: Final = 30 * 24 * NS_PER_HOUR

_log = logging.getLogger(__name__)


def note_oldest_served(engine: Engine, source: Source) -> None:
    """Asks for the oldest snapshot and keeps its instant, at most once an hour.

    It belongs to a collection that is done: a failure is only logged.
    """
    try:
        with engine.connect() as connection:
            asked_at = alerts.asked_at(connection, source.source_id)
        if asked_at is not None and datetime.now(UTC) - asked_at < ASK_AGAIN_AFTER:
            return
        with ExporterClient(source) as client:
            oldest = client.first_snapshots(time.time_ns() - _FURTHEST_NS, 1)
        if oldest:
            with engine.connect() as connection:
                alerts.note_retention(connection, source.source_id, oldest[0].instant_ns)
    except BillingError as error:
        _log.warning("source %s: oldest snapshot served: %s", source.source_id, error)
