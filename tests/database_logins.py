"""Logins of an ordinary kind on the embedded server: what a role lets them do."""

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.store.roles import Role

PASSWORD = uuid.uuid4().hex


@pytest.fixture
def login(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """A login without any right but to connect."""
    name = f"person_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("create role {} login password {}").format(
                sql.Identifier(name), sql.Literal(PASSWORD)
            )
        )
        yield name
        connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def address(database_url: str, name: str) -> str:
    """The same database, as that login."""
    where = database_url.rpartition("@")[2]
    return f"postgresql://{name}:{PASSWORD}@{where}"


def grant(database_url: str, role: Role, name: str) -> None:
    """Makes the login a member of the role."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            sql.SQL("grant {} to {}").format(sql.Identifier(role.name), sql.Identifier(name))
        )
