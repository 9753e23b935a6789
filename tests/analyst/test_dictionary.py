"""What analysts read explains itself: grain and source, and of each column unit or time zone."""

import re

import psycopg
import pytest

from billing_etl.local.dictionary import DOCUMENT
from billing_etl.store.dictionary import READ_SCHEMAS, Column, as_markdown, columns

NUMBERS = {"smallint", "integer", "bigint", "numeric", "double precision"}
UNIT = r"\b([Bb]ytes?|[Ss]econds|[Mm]inutes|currency|[Ff]actor|[Cc]ount of|[Ii]dentifier of)\b"
MONEY = {"amount", "balance", "arrears", "balance_after", "unit_price"}


@pytest.fixture
def listed(database_url: str) -> list[Column]:
    with psycopg.connect(database_url) as connection:
        found = columns(connection)
    assert {column.schema for column in found} == set(READ_SCHEMAS)
    return found


def faults(column: Column) -> list[str]:
    """What the comments leave open."""
    text = column.comment
    wanted = {
        "grain": bool(re.search(r"\bGrain: one row per \w+", column.relation_comment)),
        "source": bool(re.search(r"\bSource: \w+|\bSource: `", column.relation_comment)),
        "comment": len(text.split()) >= 2,
        "full stop": text.endswith(".") and column.relation_comment.endswith("."),
        "unit": column.type not in NUMBERS or bool(re.search(UNIT, text)),
        "bytes": not re.search(r"(^|_)bytes", column.name) or bool(re.search(r"[Bb]ytes", text)),
        "currency": column.name not in MONEY or column.type == "boolean" or "currency" in text,
        "time zone": column.type != "timestamp with time zone" or "UTC" in text,
        "truth": column.type != "boolean" or "True:" in text,
    }
    return [name for name, is_there in wanted.items() if not is_there]


def test_every_column_says_its_unit_and_time_zone(listed: list[Column]) -> None:
    open_ones = {
        f"{column.schema}.{column.relation}.{column.name}: {column.comment!r}": faults(column)
        for column in listed
    }
    assert {place: found for place, found in open_ones.items() if found} == {}


@pytest.mark.parametrize(
    ("type_", "name", "comment", "missing"),
    [
        ("bigint", "samples", "Samples fetched.", "unit"),
        ("bigint", "total_bytes", "Count of what was used.", "bytes"),
        ("numeric", "amount", "A factor of what is owed.", "currency"),
        ("timestamp with time zone", "hour", "Start of the hour.", "time zone"),
        ("boolean", "is_reset", "A counter restarted.", "truth"),
        ("text", "env", "", "comment"),
        ("text", "env", "Environment.", "comment"),
    ],
)
def test_a_vague_comment_is_found(type_: str, name: str, comment: str, missing: str) -> None:
    view = "Usage. Grain: one row per hour. Source: facts."
    assert missing in faults(Column("billing", "usage", True, view, name, type_, comment))
    told = f"True: bytes, count of, currency, factor, UTC. {comment}".strip()
    assert faults(Column("billing", "usage", True, "Usage.", name, type_, told + ".")) == [
        "grain",
        "source",
    ]


def test_the_document_is_what_the_database_says(listed: list[Column]) -> None:
    assert DOCUMENT.read_text("utf-8") == as_markdown(listed), "run `make dictionary`"


def test_a_bar_in_a_comment_does_not_end_its_cell() -> None:
    column = Column("billing", "v", True, "V.", "c", "text", "a | b.")
    assert r"| `c` | text | a \| b. |" in as_markdown([column])
