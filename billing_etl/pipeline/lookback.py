"""Look-back samples, kept as provisional closings of their own hours (C4)."""

from collections.abc import Iterator, Sequence

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
from billing_etl.store.columns import Rows, replace_rows
from billing_etl.store.database import Connection


def write_lookback(
    connection: Connection,
    source_key: int,
    lookback: HourSamples,
    node_keys: dict[tuple[str, str], int],
    series_ids: Int64Array,
) -> set[Hour]:
    """Stores look-back samples, hour by hour; gives the hours in which that changed something.

    What was kept of a node before stays when the exporter has forgotten part of it since, as C13
    says of collected hours. What is collected itself is never replaced by look-back.
    """
    changed: set[Hour] = set()
    rows = instant_rows(lookback, node_keys, provisional=True)
    series_nodes = np.array(
        [node_keys[lookback.nodes[node]] for node in lookback.series_node.tolist()], dtype=np.int64
    )
    for index in np.unique(lookback.snapshot_ns // NS_PER_HOUR).tolist():
        hour = Hour(int(index))
        instants = rows[rows["hour"] == hour.index]
        stored = collected.stored(connection, "instants", source_key, hour, collected.INSTANT)
        stored = stored[np.isin(stored["node_key"], instants["node_key"])]
        kept = stored[stored["provisional"]]
        forgetful = np.unique(forgotten_instants(kept, instants)["node_key"])
        differs = replace_rows(
            connection,
            "billing_core.node_instants",
            _not_of(forgetful, kept),
            _not_known(stored[~stored["provisional"]], _not_of(forgetful, instants)),
            ("node_key", "instant_ns"),
        )
        replaced = series_ids[~np.isin(series_nodes, forgetful)]
        closings = collected.stored_closings(connection, source_key, hour)
        provisional = provisional_closing_rows(hour, lookback, series_ids)
        differs |= replace_rows(
            connection,
            "billing_core.closings",
            closings[np.isin(closings["series_id"], replaced)],
            provisional[np.isin(provisional["series_id"], replaced)],
            ("series_id", "hour"),
        )
        nodes = np.setdiff1d(instants["node_key"], forgetful).tolist()
        differs |= collected.replace_lookback_presence(
            connection, hour, nodes, _presence(lookback, hour, node_keys, nodes)
        )
        if differs:
            changed.add(hour)
    return changed


def _presence(
    lookback: HourSamples, hour: Hour, node_keys: dict[tuple[str, str], int], nodes: Sequence[int]
) -> Iterator[tuple[int, int, str, str]]:
    """Samples of some nodes that cannot be used, as far as their series can be read (C7)."""
    for placed in lookback.bad_samples:
        node_key = node_keys[lookback.nodes[placed.node]]
        account, tag = placed.sample.account_uuid, placed.sample.inbound_tag
        if node_key not in nodes or not hour.start_ns <= placed.instant_ns < hour.end_ns:
            continue
        if account is not None and tag is not None:
            yield node_key, placed.instant_ns, account, tag


def _not_of(node_keys: Int64Array, rows: Rows) -> Rows:
    return rows[~np.isin(rows["node_key"], node_keys)]


def _not_known(collected_rows: Rows, rows: Rows) -> Rows:
    """Look-back may lie in an hour that was collected before these snapshots were served."""
    known = set(zip(collected_rows["node_key"], collected_rows["instant_ns"], strict=True))
    keys = zip(rows["node_key"], rows["instant_ns"], strict=True)
    return rows[np.array([key not in known for key in keys], dtype=np.bool_)]
