"""Events cut into Parquet files: typed columns that engines scan (delivery contract, "Parquet").

Not imported with the room: pyarrow is heavy, and only this form needs it.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from billing_etl.batches.cutting import Batch, Event, Tally
from billing_etl.errors import MismatchError

MAX_EVENTS_PER_FILE: Final = 100_000
# Rows are Python objects until their group is full: this bounds memory, not the file's size.
_ROWS_PER_GROUP: Final = 10_000
_MINUTE_MS: Final = 60_000

Value: TypeAlias = str | int | None
# Name, type and whether it may hold nothing.
ColumnOf: TypeAlias = tuple[str, str, bool]


def _as_instants(minutes: Sequence[Any]) -> Sequence[Any]:
    return [minute * _MINUTE_MS for minute in minutes]


_TYPES: Final[Mapping[str, Any]] = {
    "text": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "minute": pa.timestamp("ms", tz="UTC"),
}
_CONVERTED: Final[Mapping[str, Callable[[Sequence[Any]], Sequence[Any]]]] = {"minute": _as_instants}


def schema_of(columns: Sequence[ColumnOf]) -> Any:
    """The Arrow schema of columns as ``events.columns`` states them."""
    return pa.schema([pa.field(name, _TYPES[kind], optional) for name, kind, optional in columns])


class ParquetCutter:
    """Cuts rows, in their order, into files; holds one compressed file and one group of rows."""

    def __init__(
        self,
        columns: Sequence[ColumnOf],
        max_events: int = MAX_EVENTS_PER_FILE,
        rows_per_group: int = _ROWS_PER_GROUP,
    ) -> None:
        self._columns, self._schema = columns, schema_of(columns)
        self._max_events, self._rows_per_group = max_events, rows_per_group
        self._begin()

    def _begin(self) -> None:
        self._tally = Tally(self._max_events)
        self._rows: list[tuple[Value, ...]] = []
        self._file = io.BytesIO()
        self._writer: Any = None

    def add(self, event: Event, row: tuple[Value, ...]) -> Batch | None:
        """Takes one event more and gives the file that had no room for it."""
        full = None if self._tally.has_room_for(event) else self.finish()
        self._tally.add(event)
        self._rows.append(row)
        if len(self._rows) >= self._rows_per_group:
            self._write_group()
        return full

    def finish(self) -> Batch | None:
        """The file under way; None when it holds nothing."""
        if self._tally.events == 0:
            return None
        self._write_group()
        self._writer.close()
        batch = self._tally.batch(self._file.getvalue())
        self._begin()
        return batch

    def _write_group(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._file,
                self._schema,
                compression="zstd",
                # Ids hardly repeat: a dictionary of them would only be a second copy.
                use_dictionary=[
                    name for name, *_ in self._columns if name not in {"event_id", "corrects"}
                ],
                store_schema=False,
            )
        arrays = [
            pa.array(_CONVERTED.get(kind, list)(values), type=_TYPES[kind])
            for (_, kind, _), values in zip(
                self._columns, zip(*self._rows, strict=True), strict=True
            )
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows = []


def read_events(body: bytes) -> list[tuple[str, str, int]]:
    """Id, account and signed usage of every event of a file, in its order.

    Raises:
        MismatchError: it is no such file.
    """
    names = ["event_id", "account_uuid", "usage"]
    try:
        table = pq.read_table(io.BytesIO(body), columns=names)
        columns = [table.column(name).to_pylist() for name in names]
    except (pa.ArrowException, KeyError, OSError) as error:
        raise MismatchError(
            f"batches: expected a Parquet file with {', '.join(names)}, got one that cannot be "
            f"read ({type(error).__name__})"
        ) from None
    return list(zip(*columns, strict=True))
