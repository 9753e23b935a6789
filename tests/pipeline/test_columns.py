"""Columns come back from the database as they went there, however they are packed on the way."""

import json

import numpy as np
import psycopg
import pytest
from psycopg import sql

from billing_etl.store.columns import Numbers, Rows, copy_rows, fetch_rows
from billing_etl.store.facts import FACT_DEFAULTS

EVERY_WIDTH = np.dtype(
    [
        ("flag", "?"),
        ("small", "i2"),
        ("large", "i8"),
        ("one", "i4"),
        ("two", "i4"),
        ("hash", "V16"),
        ("last", "i2"),
    ]
)
ALONE = {name: np.dtype([(name, EVERY_WIDTH[name])]) for name in EVERY_WIDTH.names or ()}
NUMBERS = [name for name in ALONE if name not in {"flag", "hash"}]


def extremes() -> Rows:
    """Smallest, largest, minus one and zero, in every column at another place."""
    rows = np.zeros(4, dtype=EVERY_WIDTH)
    for place, name in enumerate(NUMBERS):
        limits = np.iinfo(EVERY_WIDTH[name])
        rows[name] = np.roll([limits.min, limits.max, -1, 0], place)
    rows["flag"] = [True, False, False, True]
    rows["hash"] = np.array([bytes(range(16)), b"\xff" * 16, b"\x80" * 16, bytes(16)], dtype="V16")
    return rows


@pytest.fixture
def connection(database_url: str) -> psycopg.Connection[tuple[object, ...]]:
    connection = psycopg.connect(database_url)
    connection.execute(
        "create temp table every_width (flag boolean, small smallint, large bigint, one int,"
        " two int, hash bytea, last smallint)"
    )
    return connection


def test_every_width_comes_back_as_it_went(
    connection: psycopg.Connection[tuple[object, ...]],
) -> None:
    rows = extremes()
    with connection:
        copy_rows(connection, sql.Identifier("every_width"), rows)

        fetched = fetch_rows(connection, "select * from every_width", {}, EVERY_WIDTH)
        stored = connection.execute("select * from every_width").fetchall()

    assert fetched.tobytes() == rows.tobytes()
    assert stored == [tuple(row) for row in rows.tolist()]


@pytest.mark.parametrize("name", ALONE)
def test_a_column_comes_back_alone(
    name: str, connection: psycopg.Connection[tuple[object, ...]]
) -> None:
    rows = extremes()
    with connection:
        copy_rows(connection, sql.Identifier("every_width"), rows)

        fetched = fetch_rows(connection, f"select {name} from every_width", {}, ALONE[name])

    assert fetched[name].tobytes() == rows[name].tobytes()


def test_no_rows_are_no_rows(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    with connection:
        fetched = fetch_rows(connection, "select * from every_width", {}, EVERY_WIDTH)

    assert (len(fetched), fetched.dtype) == (0, EVERY_WIDTH)


@pytest.mark.parametrize("usual", [["large"], ["large", "last"], []])
def test_columns_that_hold_the_default_everywhere_are_not_sent_and_come_back(
    usual: list[str], connection: psycopg.Connection[tuple[object, ...]]
) -> None:
    rows = extremes()
    rows["large"] = 7
    with connection:
        # That of the table differs from what the caller believes: so it shows what was sent.
        connection.execute("alter table every_width alter large set default 8")
        connection.execute("alter table every_width alter last set default 8")
        defaults = dict.fromkeys(usual, 7)
        copy_rows(connection, sql.Identifier("every_width"), rows, defaults)

        fetched = fetch_rows(connection, "select * from every_width", {}, EVERY_WIDTH)

    expected = rows.copy()
    if "large" in usual:
        expected["large"] = 8
    assert fetched.tobytes() == expected.tobytes()


def test_the_defaults_of_facts_are_those_of_their_table(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        defaults = connection.execute(
            "select attname, pg_get_expr(adbin, adrelid) from pg_attrdef d"
            " join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum"
            " where d.adrelid = 'billing_core.facts'::regclass"
        ).fetchall()
    of_table = {str(name): json.loads(value) for name, value in defaults}

    assert {name: of_table[name] for name in FACT_DEFAULTS} == FACT_DEFAULTS


@pytest.mark.parametrize("values", [[], [0], [-(2**63), 2**63 - 1, -1, 7]])
def test_numbers_are_an_array_parameter(
    connection: psycopg.Connection[tuple[object, ...]], values: list[int]
) -> None:
    with connection:
        (found,) = connection.execute("select %s", (Numbers(values),)).fetchone() or ()

    assert found == values


def test_numbers_become_as_narrow_as_a_statement_says(
    connection: psycopg.Connection[tuple[object, ...]],
) -> None:
    with connection:
        row = connection.execute("select %(of)s::smallint[]", {"of": Numbers([1, -2])}).fetchone()

    assert row == ([1, -2],)
