"""What tells whether delivery keeps up (delivery contract, "Heartbeat")."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from billing_etl.store.attention import rows
from billing_etl.store.database import Connection, sql
from billing_etl.store.deliveries import Meter


def note_settings(
    connection: Connection,
    meters: Sequence[Meter],
    exported: Iterable[Meter],
    seal_grace: timedelta,
    alert_after: timedelta,
) -> None:
    """Keeps what an export was told; the view ``delivery_health`` judges by it."""
    connection.execute(
        sql("deliveries/note_settings").encode(),
        {
            "meter_ids": [meter.meter_id for meter in meters],
            "exported_ids": [meter.meter_id for meter in exported],
            "seal_grace": seal_grace,
            "alert_after": alert_after,
        },
    )


def delivery_health(connection: Connection, at: datetime) -> list[dict[str, Any]]:
    """The view ``billing.delivery_health`` as it stands at that time."""
    return rows(connection, "status/delivery_health", {"at": at})


def quiet_event_types(connection: Connection, at: datetime) -> set[str]:
    """Exported event types of which nothing was delivered for BILLING_DELIVERY_ALERT.

    Only these can be stalled: a cheaper question than ``delivery_health``.
    """
    found = connection.execute(sql("deliveries/quiet_event_types").encode(), {"at": at})
    return {str(event_type) for (event_type,) in found}
