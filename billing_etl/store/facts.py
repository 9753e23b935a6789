"""Facts in the database: what is stored, how it changes, and the account-hours that follow."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from psycopg import sql as composed

from billing_etl.hours import Hour
from billing_etl.records import Int64Array
from billing_etl.store.columns import (
    Difference,
    Numbers,
    Rows,
    copy_rows,
    empty_rows,
    fetch_rows,
    minute_bounds,
    sorted_rows,
    stage_rows,
)
from billing_etl.store.database import Connection, sql, take_lock
from billing_etl.store.sources import TRAFFIC_METER_ID

FACT: Final = np.dtype(
    [
        ("uplink_quantity", "i8"),
        ("downlink_quantity", "i8"),
        ("included_quantity", "i8"),
        ("series_id", "i4"),
        ("minute", "i4"),
        ("rate_id", "i4"),
        ("spans_minutes", "i4"),
        ("revision", "i2"),
        ("sealing", "i2"),
        ("is_reset", "?"),
    ]
)
# What a fact is compared by: a stored hour is read without the rest, a third of its bytes.
_MEASURED_FACT: Final = np.dtype(
    [
        ("uplink_quantity", "i8"),
        ("downlink_quantity", "i8"),
        ("series_id", "i4"),
        ("minute", "i4"),
        ("spans_minutes", "i4"),
        ("is_reset", "?"),
    ]
)
_SEALED_FACT: Final = np.dtype(
    [
        ("series_id", "i4"),
        ("minute", "i4"),
        ("revision", "i2"),
        ("uplink_quantity", "i8"),
        ("downlink_quantity", "i8"),
    ]
)
# Those of the table (see its migrations) that are usual.
FACT_DEFAULTS: Final = {"spans_minutes": 1, "revision": 1, "sealing": 1, "is_reset": False}
_FACT_KEY: Final = ("series_id", "minute")
_MEASURED: Final = ("uplink_quantity", "downlink_quantity", "spans_minutes", "is_reset")
_DELIVERED: Final = ("uplink_quantity", "downlink_quantity")
_USAGE_CHANGE: Final = np.dtype(
    [("series_id", "i4"), ("hour", "i4"), ("quantity", "i8"), ("uplink", "i8")]
)
_SUMMED_ROWS: Final = 50_000
# Of so many blocks the facts are held in memory while one is written.
_MOST_WAITING: Final = 2
# Sums of several facts stay below this, or are left to the database's own numbers.
_SAFE_SUM: Final = 2.0**62


def stored_facts(
    connection: Connection, source_key: int, hour: Hour, from_minute: int, until_minute: int
) -> Rows:
    """Measured values of the stored facts of a source-hour within some of its minutes."""
    parameters = {
        "source_key": source_key,
        "from_minute": max(from_minute, hour.first_minute),
        "until_minute": min(until_minute, hour.next.first_minute),
    }
    return fetch_rows(connection, sql("collect/facts"), parameters, _MEASURED_FACT)


def facts_at(connection: Connection, series_ids: Int64Array, minutes: Int64Array) -> Rows:
    """Whole stored facts at the given keys, sorted by key."""
    if not len(minutes):
        return empty_rows(FACT)
    parameters = {
        "series_ids": Numbers(series_ids),
        "minutes": Numbers(minutes),
        **minute_bounds(minutes),
    }
    found = fetch_rows(connection, sql("collect/facts_at"), parameters, FACT)
    return sorted_rows(found, _FACT_KEY)


def lock_sealings(connection: Connection, hour: Hour, who: str) -> dict[int, int]:
    """Sealings made per hour from this one on; holds off further ones until the end.

    ``who``, here and below: what waits, such as a source and its hour.
    """
    rows = take_lock(
        connection,
        sql("collect/lock_deliveries"),
        {"hour": hour.index, "meter_id": TRAFFIC_METER_ID},
        who=who,
        waits_for=f"an export that seals hour {hour} or a later one",
    )
    return {int(index): int(sealings) for index, sealings in rows}


def sealings_from(connection: Connection, hour: Hour) -> dict[int, int]:
    """Sealings made per hour from this one on, as they are now."""
    rows = connection.execute(
        "select hour, sealings from billing_core.deliveries where hour >= %s and meter_id = %s",
        (hour.index, TRAFFIC_METER_ID),
    )
    return {int(index): int(sealings) for index, sealings in rows}


def fact_difference(stored_facts: Rows, new_facts: Rows) -> Difference:
    """How measured values differ; rating and delivery columns are not compared."""
    return Difference(stored_facts, new_facts, _FACT_KEY, _MEASURED)


class UsageChanges:
    """How the usage of series changes per hour, gathered until their account-hours are locked."""

    def __init__(self) -> None:
        self._parts: list[Rows] = []
        self._most_rows = _SUMMED_ROWS

    def add_new(self, rows: Rows) -> None:
        """Takes new facts."""
        self._add(rows, 1)

    def add_all(self, other: "UsageChanges") -> None:
        """Takes what another has gathered."""
        self._parts += other._parts
        self._join_parts()

    def add(self, difference: Difference) -> None:
        """Takes what a difference of facts does to usage."""
        moved = np.zeros(len(difference.updated), dtype=np.bool_)
        for name in _DELIVERED:
            moved |= difference.updated[name] != difference.replaced[name]
        self._add(difference.inserted, 1)
        self._add(difference.deleted, -1)
        self._add(difference.updated[moved], 1)
        self._add(difference.replaced[moved], -1)

    def _add(self, rows: Rows, sign: int) -> None:
        if not len(rows):
            return
        changes = np.empty(len(rows), dtype=_USAGE_CHANGE)
        changes["series_id"], changes["hour"] = rows["series_id"], rows["minute"] // 60
        changes["quantity"], changes["uplink"] = (
            _quantity(rows) * sign,
            rows["uplink_quantity"] * sign,
        )
        self._parts.append(_summed(changes))
        self._join_parts()

    def _join_parts(self) -> None:
        """Blocks mostly name the same series, so that few rows are held."""
        if sum(map(len, self._parts)) > self._most_rows:
            self._parts = [_summed(np.concatenate(self._parts))]
            self._most_rows = _SUMMED_ROWS + len(self._parts[0])

    def write(self, connection: Connection, who: str) -> dict[tuple[int, int], int]:
        """Carries the changes to account-hours, all in one ordered statement, and marks them stale.

        Taken before any stored fact is changed, so that collecting and rating lock in the same
        order.

        Returns:
            The usage of the changed account-hours (account key, hour) now.
        """
        if not self._parts:
            return {}
        changes = _summed(np.concatenate(self._parts))
        rows = take_lock(
            connection,
            sql("collect/add_account_hours"),
            {
                "series_ids": Numbers(changes["series_id"]),
                "hours": Numbers(changes["hour"]),
                "quantities": Numbers(changes["quantity"]),
                "uplinks": Numbers(changes["uplink"]),
            },
            who=who,
            waits_for="a run that rates or collects the same account-hours",
        )
        return {(int(key), int(hour)): int(quantity) for key, hour, quantity in rows}


def _summed(changes: Rows) -> Rows:
    """One change per series and hour; as they are when sums could be beyond 64 bits."""
    key = (changes["series_id"].astype(np.int64) << 32) + changes["hour"]
    if not (key[1:] >= key[:-1]).all():
        order = np.argsort(key, kind="stable")
        changes, key = changes[order], key[order]
    starts = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
    size = np.add.reduceat(np.abs(changes["quantity"].astype(np.float64)), starts)
    if size.max() >= _SAFE_SUM:
        return changes
    summed = changes[starts]
    for name in ("quantity", "uplink"):
        summed[name] = np.add.reduceat(changes[name], starts)
    return summed


def _quantity(rows: Rows) -> Any:
    return rows["uplink_quantity"] + rows["downlink_quantity"]


def insert_facts(connection: Connection, rows: Rows, sealings: dict[int, int]) -> int:
    """Writes facts that are not stored; gives their number. They are in no run's way."""
    rows["sealing"], rows["revision"] = _sealings_of(rows, sealings) + 1, 1
    if any(sealings.values()):
        _take_back_sealed_states(connection, rows, sealings)
    # In the order of the index, which takes half as long again otherwise.
    in_order = sorted_rows(rows, _FACT_KEY)
    table = composed.Identifier("billing_core", "facts")
    copy_rows(connection, table, in_order, FACT_DEFAULTS)
    return len(rows)


class FactCopies:
    """Writes facts in a thread that waits for the database, so that nobody else has to.

    Args:
        connection: nobody else may use it from ``insert`` to the end of ``wait``.
        sealings: sealings made per hour.
        thread: does one thing after the other.
    """

    def __init__(
        self, connection: Connection, sealings: dict[int, int], thread: ThreadPoolExecutor
    ) -> None:
        self._connection, self._sealings, self._thread = connection, sealings, thread
        self._waiting: deque[Future[int]] = deque()

    def insert(self, rows: Rows) -> None:
        """Writes facts that are not stored; the caller does not touch them any more."""
        while len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft().result()
        self._waiting.append(
            self._thread.submit(insert_facts, self._connection, rows, self._sealings)
        )

    def wait(self) -> None:
        """Until everything is written."""
        while self._waiting:
            self._waiting.popleft().result()


def change_facts(connection: Connection, difference: Difference, sealings: dict[int, int]) -> int:
    """Changes and deletes stored facts, keeps the sealed state of delivered ones; their number."""
    # As whole facts: until here only their measured values were known.
    replaced, deleted = difference.replaced, difference.deleted
    difference.replaced = facts_at(connection, replaced["series_id"], replaced["minute"])
    difference.deleted = facts_at(connection, deleted["series_id"], deleted["minute"])
    _carry_over(difference, sealings)
    if any(sealings.values()):
        _keep_sealed_states(connection, difference, sealings)
    if len(difference.deleted):
        staged = stage_rows(connection, "staged_facts", "billing_core.facts", difference.deleted)
        connection.execute(
            composed.SQL(
                "delete from billing_core.facts f using {} s"
                " where f.series_id = s.series_id and f.minute = s.minute"
                " and f.minute >= %(from_minute)s and f.minute < %(until_minute)s"
            ).format(staged),
            minute_bounds(difference.deleted["minute"]),
        )
    if len(difference.updated):
        staged = stage_rows(connection, "staged_facts", "billing_core.facts", difference.updated)
        connection.execute(
            composed.SQL(sql("collect/update_facts")).format(staged=staged),
            minute_bounds(difference.updated["minute"]),
        )
    return len(difference.updated) + len(difference.deleted)


def _sealings_of(rows: Rows, sealings: dict[int, int]) -> Any:
    hours, at = np.unique(rows["minute"] // 60, return_inverse=True)
    return np.array([sealings.get(hour, 0) for hour in hours.tolist()], dtype="i2")[at]


def _carry_over(difference: Difference, sealings: dict[int, int]) -> None:
    """An updated fact keeps its revision unless a delivered field of a sealed state changes."""
    updated, replaced = difference.updated, difference.replaced
    sealed = _sealings_of(updated, sealings)
    changes = np.zeros(len(updated), dtype=np.bool_)
    for name in _DELIVERED:
        changes |= updated[name] != replaced[name]
    advances = changes & (replaced["sealing"] <= sealed)
    updated["revision"] = replaced["revision"] + advances
    updated["sealing"] = np.where(advances, sealed + 1, replaced["sealing"])


def _keep_sealed_states(
    connection: Connection, difference: Difference, sealings: dict[int, int]
) -> None:
    """Moves what was delivered to ``sealed_facts`` and takes it back when a fact returns to it."""
    advanced = difference.updated["revision"] > difference.replaced["revision"]
    was_sealed = difference.deleted["sealing"] <= _sealings_of(difference.deleted, sealings)
    leaving = np.concatenate([difference.replaced[advanced], difference.deleted[was_sealed]])
    kept = leaving[list(_SEALED_FACT.names or ())].astype(_SEALED_FACT)
    copy_rows(connection, composed.Identifier("billing_core", "sealed_facts"), kept)
    unsealed = difference.updated[~advanced]
    _take_back_sealed_states(connection, unsealed, sealings)
    difference.updated[~advanced] = unsealed


def _take_back_sealed_states(connection: Connection, rows: Rows, sealings: dict[int, int]) -> None:
    """Facts that return to what was delivered take its revision again."""
    states = _sealed_states(connection, rows)
    returned = []
    for at, key in enumerate(zip(rows["series_id"].tolist(), rows["minute"].tolist(), strict=True)):
        state = states.get(key)
        if state is None:
            continue
        revision, uplink, downlink = state
        same = (uplink, downlink) == (
            rows["uplink_quantity"][at],
            rows["downlink_quantity"][at],
        )
        rows["revision"][at] = revision + (not same)
        if same:
            rows["sealing"][at] = sealings.get(key[1] // 60, 0)
            returned.append(key)
    _forget_sealed_states(connection, returned)


def _sealed_states(
    connection: Connection, rows: Rows
) -> dict[tuple[int, int], tuple[int, int, int]]:
    parameters = {"series_ids": rows["series_id"].tolist(), "minutes": rows["minute"].tolist()}
    found = fetch_rows(connection, sql("collect/sealed_facts"), parameters, _SEALED_FACT)
    return {
        (int(row["series_id"]), int(row["minute"])): (
            int(row["revision"]),
            int(row["uplink_quantity"]),
            int(row["downlink_quantity"]),
        )
        for row in found
    }


def _forget_sealed_states(connection: Connection, keys: Sequence[tuple[int, int]]) -> None:
    if keys:
        connection.execute(
            "delete from billing_core.sealed_facts f"
            " using unnest(%s::int[], %s::int[]) as w (series_id, minute)"
            " where f.series_id = w.series_id and f.minute = w.minute",
            ([key[0] for key in keys], [key[1] for key in keys]),
        )
