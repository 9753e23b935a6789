"""A change as one row of typed columns: the same events in a form that engines scan.

Pure: what writes the columns is chosen elsewhere. Source of the rules: delivery contract,
"Parquet".
"""

from typing import Final, Literal, NamedTuple, TypeAlias

from billing_etl.events.changes import FactChange

# minute: minutes since 1970, an instant in UTC for who reads the column.
ColumnType: TypeAlias = Literal["text", "int32", "int64", "minute"]
Row: TypeAlias = tuple[str | int | None, ...]


class Column(NamedTuple):
    """One column; an ``optional`` one may hold nothing."""

    name: str
    type: ColumnType
    optional: bool = False


COLUMNS: Final = (
    Column("event_id", "text"),
    Column("revision", "int32"),
    Column("corrects", "text", optional=True),
    Column("event_type", "text"),
    Column("minute", "minute"),
    Column("account_uuid", "text"),
    Column("source_id", "text"),
    Column("env", "text"),
    Column("node_id", "text"),
    Column("inbound_tag", "text"),
    Column("region", "text"),
    Column("uplink_bytes", "int64", optional=True),
    Column("downlink_bytes", "int64", optional=True),
    Column("usage", "int64"),
    Column("usage_total", "int64"),
)


def row(change: FactChange) -> Row:
    """The values of ``COLUMNS``; ``usage`` and its parts are signed differences."""
    return (
        change.event_id,
        change.revision,
        change.corrected_id,
        change.event_type,
        change.minute,
        change.account_uuid,
        change.source_id,
        change.env,
        change.node_id,
        change.inbound_tag,
        change.region,
        change.uplink_change if change.has_parts else None,
        change.downlink_change if change.has_parts else None,
        change.usage,
        change.usage_total,
    )
