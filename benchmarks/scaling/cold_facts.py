"""How small facts become as columns: sorted by series and minute, differences, deflated.

That is what a columnar file such as Parquet does to them; it needs no such library to be known.
"""

import zlib
from typing import Any, Final

import numpy as np
import psycopg

from billing_etl.store.columns import fetch_rows
from billing_etl.store.facts import FACT

_ALL: Final = """
select uplink_quantity, downlink_quantity, included_quantity, series_id, minute, rate_id,
       spans_minutes, revision, sealing, is_reset
from billing_core.facts
"""
# Columns that repeat or step evenly; the others are as good as random.
_DIFFERENCES: Final = frozenset({"series_id", "minute"})
_LEVEL: Final = 6


def cold_fact_bytes(connection: psycopg.Connection[Any]) -> float:
    """Bytes per fact of all facts in the database."""
    rows = fetch_rows(connection, _ALL, {}, FACT)
    rows = rows[np.lexsort((rows["minute"], rows["series_id"]))]
    size = 0
    for name in FACT.names or ():
        column = rows[name]
        if name in _DIFFERENCES:
            column = np.diff(column, prepend=column[:1])
        size += len(zlib.compress(np.ascontiguousarray(column).tobytes(), _LEVEL))
    return size / len(rows)
