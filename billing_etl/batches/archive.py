"""Facts as a Parquet file that is kept instead of them, and what it holds when read back.

Its columns have the names and meanings of the view ``usage_minutes``, and what a fact has beyond
them, so that a file says all that its facts said. Not imported with the room: pyarrow is heavy.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from billing_etl.errors import MismatchError, TerminalError

# Digits before and after the point: engines have 38 at most. An amount that needs others is refused
# rather than rounded (R1).
AMOUNT: Final = pa.decimal128(38, 24)
_WIDE: Final = pa.decimal256(76, 24)
_MINUTE_MS: Final = 60_000
_ROWS_PER_GROUP: Final = 100_000
_NAMES: Final = (
    "event_type", "account_uuid", "source_id", "env", "node_id", "inbound_tag",
)  # fmt: skip

SCHEMA: Final = pa.schema(
    [
        pa.field("minute", pa.timestamp("ms", tz="UTC"), nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in _NAMES),
        pa.field("region", pa.string()),
        *(
            pa.field(name, pa.int64(), nullable=False)
            for name in (
                "uplink_bytes", "downlink_bytes", "total_bytes", "included_bytes", "rated_bytes",
            )
        ),
        pa.field("unit_price", AMOUNT),
        pa.field("multiplier", AMOUNT),
        pa.field("amount", AMOUNT),
        pa.field("price_version", pa.string()),
        pa.field("spans_minutes", pa.int32(), nullable=False),
        pa.field("is_reset", pa.bool_(), nullable=False),
        pa.field("revision", pa.int32(), nullable=False),
        pa.field("sealing", pa.int32(), nullable=False),
        pa.field("series_id", pa.int32(), nullable=False),
        pa.field("rate_id", pa.int32(), nullable=False),
    ]
)  # fmt: skip

# One fact in the digest, as the server writes it: big-endian, in this order.
_DIGESTED: Final = np.dtype(
    [
        ("series_id", ">i4"), ("minute", ">i4"), ("uplink_bytes", ">i8"),
        ("downlink_bytes", ">i8"), ("included_bytes", ">i8"), ("rate_id", ">i4"),
        ("spans_minutes", ">i4"), ("revision", ">i2"), ("sealing", ">i2"), ("is_reset", "u1"),
    ]
)  # fmt: skip

Rows = NDArray[np.void]


def written(
    facts: Rows,
    series: Sequence[Mapping[str, Any]],
    rates: Sequence[Mapping[str, Any]],
    regions: Mapping[int, Sequence[tuple[int, str]]],
) -> bytes:
    """The file of some facts; the same facts and library, the same bytes.

    Args:
        facts: in order of minute and series, with the columns of the table.
        series: names of every series that has a fact, in order of ``series_id``.
        rates: prices of every rate that a fact has, in order of ``rate_id``.
        regions: by ``source_key`` the minutes from which regions apply, in order.

    Raises:
        TerminalError: an amount has more digits than engines have.
    """
    which = np.searchsorted([row["series_id"] for row in series], facts["series_id"])
    total = facts["uplink_quantity"] + facts["downlink_quantity"]
    rated = total - facts["included_quantity"]
    priced = _priced(facts["rate_id"], rated, rates)
    columns = {
        "minute": pa.array(facts["minute"].astype(np.int64) * _MINUTE_MS, pa.int64()).cast(
            pa.timestamp("ms", tz="UTC")
        ),
        **{name: _taken([row[name] for row in series], which) for name in _NAMES},
        "region": _regions(facts["minute"], which, series, regions),
        "uplink_bytes": facts["uplink_quantity"],
        "downlink_bytes": facts["downlink_quantity"],
        "total_bytes": total,
        "included_bytes": facts["included_quantity"],
        "rated_bytes": rated,
        **priced,
        **{name: facts[name] for name in ("spans_minutes", "is_reset", "revision", "sealing")},
        "series_id": facts["series_id"],
        "rate_id": facts["rate_id"],
    }
    table = pa.Table.from_arrays(
        [_as(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA
    )
    file = io.BytesIO()
    pq.write_table(
        table, file, compression="zstd", row_group_size=_ROWS_PER_GROUP, store_schema=False
    )
    return file.getvalue()


def _priced(
    rate_id: NDArray[Any], rated: NDArray[Any], rates: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Price, factor, amount and version of each fact; null where it is not rated (rate 0)."""
    ids = np.array([row["rate_id"] for row in rates], dtype=np.int64)
    which = np.searchsorted(ids, rate_id)
    index = pa.array(which, pa.int64(), mask=rate_id == 0)
    try:
        unit_price, multiplier, per_unit = (
            pa.array([row[name] for row in rates], AMOUNT).take(index)
            for name in ("price_per_unit", "multiplier", "amount_per_unit")
        )
        exact = pc.multiply(
            pa.array(rated, pa.int64()).cast(pa.decimal256(19, 0)),
            per_unit.cast(pa.decimal256(38, 24)),
        )
        amount = exact.cast(AMOUNT)
    except pa.ArrowInvalid:
        raise TerminalError(
            f"archive: expected prices and amounts of at most 14 digits before and {AMOUNT.scale} "
            "after the point, got others; these facts stay in the database"
        ) from None
    versions = pa.array([row["price_version"] for row in rates], pa.string()).take(index)
    return {
        "unit_price": unit_price,
        "multiplier": multiplier,
        "amount": amount,
        "price_version": versions,
    }


def _taken(values: Sequence[str], which: NDArray[Any]) -> Any:
    return pa.array(values, pa.string()).take(pa.array(which, pa.int64()))


def _regions(
    minute: NDArray[Any],
    which: NDArray[Any],
    series: Sequence[Mapping[str, Any]],
    regions: Mapping[int, Sequence[tuple[int, str]]],
) -> Any:
    """The region of each fact's source at its minute (R2); null: none is known."""
    source = np.array([row["source_key"] for row in series], dtype=np.int64)[which]
    names: list[str | None] = [None]
    found = np.zeros(len(minute), dtype=np.int64)
    for source_key, dated in regions.items():
        at = np.flatnonzero(source == source_key)
        since = np.searchsorted([start for start, _ in dated], minute[at], side="right")
        found[at] = np.where(since == 0, 0, len(names) - 1 + since)
        names += [region for _, region in dated]
    return pa.array(names, pa.string()).take(pa.array(found, pa.int64()))


def _as(column: Any, kind: Any) -> Any:
    return column if isinstance(column, pa.Array) else pa.array(column).cast(kind)


class Read:
    """What a file holds, as it was read back.

    Raises:
        MismatchError: it is no such file.
    """

    def __init__(self, body: bytes) -> None:
        try:
            self._table = pq.read_table(io.BytesIO(body)).cast(SCHEMA)
        except (pa.ArrowException, KeyError, ValueError, OSError) as error:
            raise MismatchError(
                "archive: expected a Parquet file of facts, got one that cannot be read "
                f"({type(error).__name__})"
            ) from None

    @property
    def facts(self) -> int:
        return int(self._table.num_rows)

    def total(self, column: str) -> int:
        """Sum of a column of bytes, exact."""
        wide = self._table.column(column).cast(pa.decimal128(19, 0)).cast(pa.decimal256(76, 0))
        return int(pc.sum(wide).as_py() or 0)

    @property
    def amount(self) -> Decimal:
        return Decimal(pc.sum(self._table.column("amount").cast(_WIDE)).as_py() or 0)

    @property
    def facts_sha256(self) -> bytes:
        """The digest that the server computes of the same facts."""
        rows = np.empty(self.facts, dtype=_DIGESTED)
        for name in _DIGESTED.names or ():
            column = self._table.column(name)
            if name == "minute":
                rows[name] = column.cast(pa.int64()).to_numpy() // _MINUTE_MS
            else:
                rows[name] = column.to_numpy()
        return hashlib.sha256(rows.tobytes()).digest()

    def names(self) -> list[dict[str, Any]]:
        """Every series with its names, in order of ``series_id``."""
        keys = ["series_id", *_NAMES]
        distinct = self._table.group_by(keys).aggregate([])
        rows: list[dict[str, Any]] = distinct.select(keys).to_pylist()
        return sorted(rows, key=lambda row: int(row["series_id"]))
