"""Drops sealed payloads once they are delivered, reconciled clean and old enough.

Digests, sizes and counts stay for ever, so a statement or a check can still tell that an object is
the one that was sealed. It can no longer be sent again. The database frees the space by its vacuum.
"""

import logging
from datetime import datetime
from typing import Final

from billing_etl.settings import Settings
from billing_etl.store import deliveries
from billing_etl.store.database import Connection

# More than the largest hour brings in, so that hourly calls keep up; few enough to take a second.
MOST_AT_ONCE: Final = 20_000

_log = logging.getLogger(__name__)


def drop_payloads(
    connection: Connection, settings: Settings, now: datetime, most: int = MOST_AT_ONCE
) -> int:
    """Drops up to ``most`` payloads that are due and gives their number.

    Due: delivered longer ago than BILLING_PAYLOAD_RETENTION, and the hour was found clean since,
    by both checks that read payloads, with nothing of it different.
    """
    retention = settings.payload_retention
    dropped = deliveries.drop_payloads(connection, now - retention, most)
    if dropped:
        _log.info("%d payloads dropped that were delivered %s ago", dropped, retention)
    return dropped
