"""What the database says of itself: every relation and column that analysts read."""

from itertools import groupby
from typing import Final, NamedTuple

from billing_etl.store.database import Connection, sql

# Schemas that are read by others; everything else is the project's own affair.
READ_SCHEMAS: Final = ("billing", "account_read_model")


class Column(NamedTuple):
    """A column with the comments of its relation and its own; empty where there is none."""

    schema: str
    relation: str
    is_view: bool
    relation_comment: str
    name: str
    type: str
    comment: str


def columns(connection: Connection) -> list[Column]:
    """Every column of the schemas that are read by others, in the order of the relations."""
    rows = connection.execute(sql("report/columns").encode(), {"schemas": list(READ_SCHEMAS)})
    return [Column(*row) for row in rows]


def as_markdown(listed: list[Column]) -> str:
    """The data dictionary: a table per relation."""
    parts = [
        "# Data dictionary\n",
        "Written by `make dictionary` from the comments of the database; change them in `sql/` "
        "and write it again.\n\nInstants are `timestamp with time zone`: which zone they are "
        "shown in is the reader's setting (`set time zone 'UTC'`). Rules C1 to C15 and R1 to R7 "
        "are in [what the numbers mean](semantics.md); [queries](queries.md) shows the views at "
        "work.\n",
    ]
    for (schema, relation, text), of_relation in groupby(
        listed, key=lambda each: each[:2] + each[3:4]
    ):
        parts.append(f"## `{schema}.{relation}`\n\n{text}\n")
        lines = [f"| `{each.name}` | {each.type} | {_cell(each.comment)} |" for each in of_relation]
        parts.append("\n".join(["| column | type | meaning |", "| --- | --- | --- |", *lines, ""]))
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
