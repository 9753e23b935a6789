"""Columns come back from the database as they went there, however they are packed on the way."""

import numpy as np
import psycopg
import pytest
from psycopg import sql

from billing_etl.store.columns import Rows, copy_rows, fetch_rows

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
