"""Look-back samples, kept as provisional closings of their own hours (C4)."""

import numpy as np

from billing_etl.counters import HourSamples
from billing_etl.hours import NS_PER_HOUR, Hour
from billing_etl.pipeline.hour_rows import (
    forgotten_instants,
    instant_rows,
    provisional_closing_rows,
)
from billing_etl.records import Int64Array
from billing_etl.store import collected
from billing_etl.store.columns import replace_rows
from billing_etl.store.database import Connection


def write_lookback(
    connection: Connection,
    source_key: int,
    lookback: HourSamples,
    node_keys: dict[tuple[str, str], int],
    series_ids: Int64Array,
) -> None:
    """Stores look-back samples, hour by hour.

    What was kept before stays when the exporter has forgotten part of it since, as C13 says of
    collected hours; a node's collected hour is never replaced by look-back.
    """
    rows = instant_rows(lookback, node_keys, provisional=True)
    for index in np.unique(lookback.snapshot_ns // NS_PER_HOUR).tolist():
        hour = Hour(int(index))
        instants = rows[rows["hour"] == hour.index]
        stored = collected.stored(connection, "instants", source_key, hour, collected.INSTANT)
        stored = stored[np.isin(stored["node_key"], instants["node_key"])]
        if len(forgotten_instants(stored, instants)) or not stored["provisional"].all():
            continue
        replace_rows(
            connection,
            "billing_core.node_instants",
            stored,
            instants,
            ("node_key", "instant_ns"),
        )
        closings = collected.stored(connection, "closings", source_key, hour, collected.CLOSING)
        replace_rows(
            connection,
            "billing_core.closings",
            closings[np.isin(closings["series_id"], series_ids)],
            provisional_closing_rows(hour, lookback, series_ids),
            ("series_id", "hour"),
        )
