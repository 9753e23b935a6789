"""What a reconciliation statement reads, the digests over its inputs, and signed statements."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg import sql as composed
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from billing_etl.hours import Hour, HourRange
from billing_etl.statement import Digest, Number
from billing_etl.store.database import Connection, one_row, sql
from billing_etl.store.sources import TRAFFIC_METER_ID

Row = dict[str, Any]

# An hour's facts are sorted in memory, else through a file; names are hashed as UTF-8 anywhere.
_SETTINGS: Final = b"set local work_mem = '64MB'; set local client_encoding = 'UTF8'"


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed statement as it is stored."""

    statement_id: int
    root: str
    is_balanced: bool
    is_final: bool
    despite: str | None
    supersedes: int | None
    document: dict[str, Any]
    inputs: dict[str, dict[str, Digest]]
    run_id: int
    signed_at: datetime


def begin_snapshot(connection: Connection) -> datetime:
    """All that follows in the transaction sees one moment of the database; gives that moment."""
    connection.execute("set transaction isolation level repeatable read")
    connection.execute(_SETTINGS)
    (moment,) = one_row(connection, "select now()", {})
    assert isinstance(moment, datetime)
    return moment


# --- totals ----------------------------------------------------------------------------------


def hour_numbers(connection: Connection, hour: Hour) -> dict[str, Number]:
    """Counters, facts, money and sealed states of one hour, by name; amounts are Decimal."""
    numbers: dict[str, Number] = {}
    for name in ("counters", "money", "sealed"):
        (row,) = _rows(connection, name, _of(hour))
        numbers |= {key: _number(key, value) for key, value in row.items()}
    return numbers


def amounts(connection: Connection, hour: Hour) -> list[Row]:
    """Included and rated quantity and amount per price version."""
    return _numbered(_rows(connection, "amounts", _of(hour)))


def source_hours(connection: Connection, hours: HourRange) -> list[Row]:
    return _rows(connection, "source_hours", _span(hours))


def snapshots(connection: Connection, hours: HourRange) -> list[Row]:
    return _rows(connection, "snapshots", _span(hours))


def objects(connection: Connection, hours: HourRange) -> list[Row]:
    return _numbered(_rows(connection, "objects", _span(hours)))


def ledger(connection: Connection, hours: HourRange, anchor_day: int) -> list[Row]:
    return _numbered(_rows(connection, "ledger", _span(hours) | {"anchor_day": anchor_day}))


def notable(connection: Connection, hours: HourRange) -> list[Row]:
    return _numbered(_rows(connection, "notable", _span(hours)))


def checks(connection: Connection, hours: HourRange) -> list[Row]:
    return _rows(connection, "checks", _span(hours))


def last_changes(connection: Connection, hours: HourRange) -> dict[int, datetime]:
    """When something of an hour was last written, by hour index."""
    return {
        row["hour"]: row["changed_at"] for row in _rows(connection, "last_changes", _span(hours))
    }


# --- digests ---------------------------------------------------------------------------------


def digest(
    connection: Connection, table: str, hour: Hour, signed_rows: int = 0
) -> tuple[Digest, str]:
    """The digest of one table in one hour, and that over its first ``signed_rows`` rows.

    Rows are hashed as they arrive, in the text form of COPY: memory does not grow with them.
    """
    statement = composed.SQL(sql(f"statement/inputs/{table}")).format(
        hour=composed.Literal(hour.index)
    )
    rows, sha256 = 0, hashlib.sha256()
    first = sha256.hexdigest() if signed_rows == 0 else ""
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in copy:  # libpq gives one row at a time
            sha256.update(row)
            rows += 1
            if rows == signed_rows:
                first = sha256.hexdigest()
    return Digest(rows, sha256.hexdigest()), first


# --- signed statements -------------------------------------------------------------------------


def latest(connection: Connection, span: str, start: Hour) -> Signed | None:
    """The latest signed statement of a span."""
    for row in _rows(connection, "latest", {"span": span, "start": start.index}):
        inputs = {
            hour: {name: Digest(**digest) for name, digest in tables.items()}
            for hour, tables in row.pop("inputs").items()
        }
        return Signed(**row | {"root": row["root"].hex(), "inputs": inputs})
    return None


def sign(
    connection: Connection,
    *,
    span: str,
    label: str,
    hours: HourRange,
    document: Mapping[str, Any],
    inputs: Mapping[str, Mapping[str, Digest]],
    despite: str | None,
    supersedes: int | None,
    run_id: int,
) -> tuple[int, datetime]:
    """Appends a signed statement; gives its number and when it was signed."""
    parameters = _span(hours) | {
        "span": span,
        "label": label,
        "root": bytes.fromhex(document["root"]),
        "is_balanced": document["balanced"],
        "is_final": document["final"],
        "despite": despite,
        "supersedes": supersedes,
        "document": Jsonb(document),
        "inputs": Jsonb(
            {
                hour: {
                    name: {"rows": digest.rows, "sha256": digest.sha256}
                    for name, digest in tables.items()
                }
                for hour, tables in inputs.items()
            }
        ),
        "run_id": run_id,
    }
    statement_id, signed_at = one_row(connection, sql("statement/sign"), parameters)
    return int(statement_id), signed_at


def records_since(
    connection: Connection, hour: Hour, rows: Mapping[str, int], runs: list[Row]
) -> Iterator[str]:
    """What was recorded of an hour since it was signed, a line each.

    Args:
        rows: signed rows of the append-only tables.
        runs: what ``runs_since`` gave.
    """
    for run in runs:
        if run["hour"] <= hour.index:
            yield f"run {run['run_id']}: {run['what']}, hour {Hour(run['hour'])}"
    for name, text in (
        ("ledger", "{entries} ledger entries, {rated_quantity} bytes rated, {amount}: {reason}"),
        ("batches", "sealing {sealing}, {events} events, net usage {net_quantity}"),
    ):
        table = "ledger_entries" if name == "ledger" else name
        parameters = {"hour": hour.index, "rows": rows[table]}
        for row in _rows(connection, f"{name}_since", parameters):
            yield f"run {row['run_id']}: " + text.format(**row)


def runs_since(connection: Connection, end: Hour, since: datetime) -> list[Row]:
    """Runs since a moment that changed collected hours or prices before an hour."""
    return _rows(connection, "recorded_since", {"end": end.index, "since": since})


def _rows(connection: Connection, name: str, parameters: Mapping[str, Any]) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(sql(f"statement/{name}").encode(), parameters).fetchall()


def _numbered(rows: list[Row]) -> list[Row]:
    return [{key: _number(key, value) for key, value in row.items()} for row in rows]


def _number(name: str, value: Any) -> Any:
    """Quantities are whole, however large: only amounts stay decimals."""
    return value if isinstance(value, bool | str | None) or "amount" in name else int(value)


def _span(hours: HourRange) -> dict[str, Any]:
    return {
        "start": hours.start.index,
        "end": hours.end.index,
        "meter_id": TRAFFIC_METER_ID,
    }


def _of(hour: Hour) -> dict[str, Any]:
    return {"hour": hour.index, "meter_id": TRAFFIC_METER_ID}
