"""Columns of fixed width between numpy and PostgreSQL, by binary COPY in both directions."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql as composed
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

from billing_etl.records import BoolArray
from billing_etl.store.database import Connection

# A structured array: one field per column, one entry per row.
Rows: TypeAlias = NDArray[np.void]

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_ROWS_AT_ONCE: Final = 8_192


class Numbers:
    """Whole numbers as one parameter of a statement, an array of bigint; casts make it narrower.

    psycopg's adaptation of a list looks at each of its items, here nobody does.
    """

    __slots__ = ("values",)

    def __init__(self, values: Sequence[int] | NDArray[Any]) -> None:
        self.values = np.asarray(values, dtype=np.int64)


class _NumbersDumper(Dumper):
    """The binary form of an array: dimensions, nulls, type; then length and value per item."""

    format = Format.BINARY
    oid = 1016  # bigint[]
    _ITEM: Final = np.dtype([("length", ">i4"), ("value", ">i8")])
    _ITEM_OID: Final = 20

    def dump(self, obj: Numbers) -> Buffer:
        if not len(obj.values):
            return struct.pack(">3i", 0, 0, self._ITEM_OID)
        items = np.empty(len(obj.values), dtype=self._ITEM)
        items["length"], items["value"] = 8, obj.values
        return struct.pack(">5i", 1, 0, self._ITEM_OID, len(items), 1) + items.tobytes()


psycopg.adapters.register_dumper(Numbers, _NumbersDumper)


def empty_rows(dtype: np.dtype[np.void], count: int = 0) -> Rows:
    """Rows of zeros."""
    return np.zeros(count, dtype=dtype)


def rows_of(dtype: np.dtype[np.void], columns: Mapping[str, Any]) -> Rows:
    """Rows made of parallel columns; scalars are repeated. Names must be those of the type."""
    lengths = [len(values) for values in columns.values() if np.ndim(values)]
    rows = np.zeros(lengths[0], dtype=dtype)
    for name in dtype.names or ():
        rows[name] = columns[name]
    return rows


def minute_bounds(minutes: NDArray[Any]) -> dict[str, int]:
    """Minutes as ``from_minute`` and ``until_minute`` (exclusive) of a statement."""
    return {"from_minute": int(minutes.min()), "until_minute": int(minutes.max()) + 1}


def _wire_type(dtype: np.dtype[np.void]) -> np.dtype[np.void]:
    """The binary COPY layout of a row: field count, then length and big-endian value per field."""
    fields: list[tuple[str, Any]] = [("_count", ">i2")]
    for name in dtype.names or ():
        fields += [(f"_length_{name}", ">i4"), (name, dtype[name].newbyteorder(">"))]
    return np.dtype(fields)


def copy_rows(
    connection: Connection,
    table: composed.Composable,
    rows: Rows,
    defaults: Mapping[str, object] | None = None,
) -> None:
    """Appends rows to a table whose columns have the names and widths of the row type.

    Args:
        connection: within the caller's transaction.
        table, rows: what goes where.
        defaults: what the table puts into columns that are not sent; a column that holds nothing
            else is left out, which spares the server reading it row by row.
    """
    if not len(rows):
        return
    left_out = {name for name, value in (defaults or {}).items() if (rows[name] == value).all()}
    names = [name for name in rows.dtype.names or () if name not in left_out]
    wire_type = _wire_type(np.dtype([(name, rows.dtype[name]) for name in names]))
    wire_rows = np.empty(min(len(rows), _ROWS_AT_ONCE), dtype=wire_type)
    wire_rows["_count"] = len(names)
    for name in names:
        wire_rows[f"_length_{name}"] = rows.dtype[name].itemsize
    columns = composed.SQL(", ").join(map(composed.Identifier, names))
    statement = composed.SQL("copy {} ({}) from stdin (format binary)").format(table, columns)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(_HEADER)
        # In parts: the server works on one while the next is made.
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE]
            for name in names:
                wire_rows[name][: len(part)] = part[name]
            copy.write(wire_rows[: len(part)].tobytes())
        copy.write(_TRAILER)


def fetch_rows(
    connection: Connection, query: str, parameters: Mapping[str, Any], dtype: np.dtype[np.void]
) -> Rows:
    """The rows of a query whose columns have the order and widths of ``dtype`` and no nulls.

    The server puts them into one value: a message per row costs five times as much.
    """
    names = dtype.names or ()
    sent, wire = _sent(dtype)
    statement = composed.SQL("select string_agg({}, '') from ({}) as q ({})").format(
        sent,
        composed.SQL(query.strip().rstrip(";")),
        composed.SQL(", ").join(map(composed.Identifier, names)),
    )
    with connection.cursor(binary=True) as cursor:
        row = cursor.execute(statement, parameters).fetchone()
    wire_rows = np.frombuffer((row and row[0]) or b"", dtype=wire)
    rows = np.empty(len(wire_rows), dtype=dtype)
    for name in names:
        rows[name] = wire_rows[name]
    return rows


def _sent(dtype: np.dtype[np.void]) -> tuple[composed.Composable, np.dtype[np.void]]:
    """How the server writes a row as bytes, and their layout.

    Narrow columns that stand side by side travel in one number of 64 bits: that is much less work
    than to join as many strings of bytes.
    """
    parts: list[composed.Composable] = []
    fields: list[tuple[str, Any]] = []
    for names in _sharing_a_number(dtype):
        fields += [(name, dtype[name].newbyteorder(">")) for name in names]
        columns = [composed.Identifier("q", name) for name in names]
        bits = [8 * dtype[name].itemsize for name in names]
        free = 64 - sum(bits)
        if free < 0:
            parts += columns  # bytes already
            continue
        if free:
            fields.append((f"_free_{len(parts)}", f"V{free // 8}"))
        shifted = [
            composed.SQL("(({}::int::bigint & {}) << {})").format(
                column, (1 << width) - 1, 64 - sum(bits[: at + 1])
            )
            for at, (column, width) in enumerate(zip(columns, bits, strict=True))
        ]
        number = columns if len(columns) == 1 and not free else shifted
        parts.append(composed.SQL("int8send({})").format(composed.SQL(" | ").join(number)))
    return composed.SQL(" || ").join(parts), np.dtype(fields)


def _sharing_a_number(dtype: np.dtype[np.void]) -> list[list[str]]:
    """The columns in their order; those together that fit into 64 bits."""
    groups: list[list[str]] = []
    free = 0
    for name in dtype.names or ():
        size = dtype[name].itemsize
        if size > free:
            groups.append([])
            free = 8
        groups[-1].append(name)
        free -= size
    return groups


def stage_rows(connection: Connection, name: str, like: str, rows: Rows) -> composed.Identifier:
    """Copies rows into a temporary table ``name`` with the named columns of ``like``."""
    table = composed.Identifier("pg_temp", name)
    columns = composed.SQL(", ").join(map(composed.Identifier, rows.dtype.names or ()))
    connection.execute(composed.SQL("drop table if exists {}").format(table))
    connection.execute(
        composed.SQL("create temp table {} on commit drop as select {} from {} limit 0").format(
            composed.Identifier(name), columns, composed.Identifier(*like.split("."))
        )
    )
    copy_rows(connection, table, rows)
    return table


class Difference:
    """How new rows differ from stored ones with the same keys.

    Attributes:
        inserted: new rows whose key is not stored.
        updated: new rows whose key is stored with other values; ``replaced`` are those stored rows.
        deleted: stored rows whose key is not among the new ones.
    """

    def __init__(self, stored: Rows, new: Rows, key: Sequence[str], values: Sequence[str]) -> None:
        stored, new = sorted_rows(stored, key), sorted_rows(new, key)
        if _same_keys(stored, new, key):
            differs = _differs(stored, new, values)
            self.updated, self.replaced = new[differs], stored[differs]
            self.inserted, self.deleted = new[:0], stored[:0]
            return
        stored_at, new_at = _common(stored, new, key)
        differs = _differs(stored[stored_at], new[new_at], values)
        self.updated = new[new_at[differs]]
        self.replaced = stored[stored_at[differs]]
        self.inserted = np.delete(new, new_at) if len(new_at) else new
        self.deleted = np.delete(stored, stored_at) if len(stored_at) else stored

    def __bool__(self) -> bool:
        return bool(len(self.updated) or len(self.inserted) or len(self.deleted))


def _same_keys(some: Rows, others: Rows, key: Sequence[str]) -> bool:
    return len(some) == len(others) and not _differs(some, others, key).any()


def _differs(some: Rows, others: Rows, names: Sequence[str]) -> BoolArray:
    """Where any of the columns is not the same."""
    differs: BoolArray = np.zeros(len(some), dtype=np.bool_)
    for name in names:
        differs |= some[name] != others[name]
    return differs


def _packed(rows: Rows, key: Sequence[str]) -> NDArray[np.int64] | None:
    """A key of two 32-bit numbers as one of 64 bits, which is sorted and compared at once."""
    if [rows.dtype[name] for name in key] != [np.dtype("i4")] * 2:
        return None
    high, low = (rows[name].astype(np.int64) for name in key)
    return (high << 32) + low


def sorted_rows(rows: Rows, key: Sequence[str]) -> Rows:
    """Rows in the order of their key; the same ones when they are."""
    packed = _packed(rows, key)
    if packed is None:
        return rows[np.lexsort(tuple(rows[name] for name in reversed(key)))]
    if (packed[1:] > packed[:-1]).all():
        return rows
    return rows[np.argsort(packed, kind="stable")]


def _common(
    stored: Rows, new: Rows, key: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the keys that both have; both are sorted by key without repetition."""
    if not len(stored) or not len(new):
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing
    packed, wanted = _packed(stored, key), _packed(new, key)
    if packed is not None and wanted is not None:
        at = np.minimum(np.searchsorted(packed, wanted), len(packed) - 1)
        new_at = np.flatnonzero(packed[at] == wanted)
        return at[new_at], new_at
    both = {name: np.concatenate([stored[name], new[name]]) for name in key}
    origin = np.concatenate([np.zeros(len(stored), np.int64), np.ones(len(new), np.int64)])
    position = np.concatenate([np.arange(len(stored)), np.arange(len(new))])
    order = np.lexsort((origin, *(both[name] for name in reversed(key))))
    same = np.ones(len(order) - 1, dtype=np.bool_)
    for values in both.values():
        same &= values[order][1:] == values[order][:-1]
    at = np.flatnonzero(same)
    return position[order[at]], position[order[at + 1]]


def replace_rows(
    connection: Connection, table: str, stored: Rows, new: Rows, key: Sequence[str]
) -> bool:
    """Makes stored rows equal to new ones and touches only what differs; True when something did.

    Args:
        connection: within the caller's transaction.
        table: ``schema.table``; the row type names its columns.
        stored, new: the rows of the same scope, as they are and as they shall be.
        key: the columns of the table's key.
    """
    names = new.dtype.names or ()
    values = [name for name in names if name not in key]
    difference = Difference(stored, new, key, values)
    identifier = composed.Identifier(*table.split("."))
    matches = composed.SQL(" and ").join(
        composed.SQL("t.{0} = s.{0}").format(composed.Identifier(name)) for name in key
    )
    if len(difference.deleted):
        staged = stage_rows(connection, "staged_deleted", table, difference.deleted)
        connection.execute(
            composed.SQL("delete from {} t using {} s where {}").format(identifier, staged, matches)
        )
    if len(difference.updated):
        staged = stage_rows(connection, "staged_updated", table, difference.updated)
        assignments = composed.SQL(", ").join(
            composed.SQL("{0} = s.{0}").format(composed.Identifier(name)) for name in values
        )
        connection.execute(
            composed.SQL("update {} t set {} from {} s where {}").format(
                identifier, assignments, staged, matches
            )
        )
    copy_rows(connection, identifier, difference.inserted)
    return bool(difference)
