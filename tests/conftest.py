"""For all tests: one PostgreSQL and one S3 server, started when first needed."""

import os
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from psycopg import sql
from scratch import scratch_directory

from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.store.migrations import migrate

# Properties are checked on the same examples every time, without a clock.
hypothesis_settings.register_profile(
    "same_every_time", deadline=None, database=None, derandomize=True
)
# Under `make mutate` the first example that fails is enough; a smaller one is not looked for.
hypothesis_settings.register_profile(
    "mutation",
    hypothesis_settings.get_profile("same_every_time"),
    phases=[Phase.explicit, Phase.generate],
)
hypothesis_settings.load_profile(
    "mutation" if "MUTANT_UNDER_TEST" in os.environ else "same_every_time"
)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    with scratch_directory() as directory:
        server = EmbeddedPostgres(directory / "postgres")
        try:
            yield server.start()
        finally:
            server.remove()


@pytest.fixture(scope="session")
def migrated_template(postgres_server: EmbeddedPostgres) -> str:
    """Name of a database that has the schema and no rows."""
    name = "migrated"
    postgres_server.create_database(name)
    migrate(postgres_server.url(name))
    return name


@pytest.fixture
def empty_database_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """A fresh database without a schema."""
    yield from _fresh_database(postgres_server, "template1")


@pytest.fixture
def database_url(postgres_server: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """A fresh database with the schema."""
    yield from _fresh_database(postgres_server, migrated_template)


def _fresh_database(server: EmbeddedPostgres, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    server.create_database(name, template)
    yield server.url(name)
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def object_store() -> Iterator[EmbeddedObjectStore]:
    with (
        scratch_directory() as directory,
        EmbeddedObjectStore(directory / "object-store") as server,
    ):
        yield server


@pytest.fixture(scope="session")
def s3_server(object_store: EmbeddedObjectStore) -> EmbeddedObjectStore:
    return object_store


@pytest.fixture
def bucket(object_store: EmbeddedObjectStore) -> str:
    """A fresh bucket."""
    name = f"test-{uuid.uuid4().hex}"
    object_store.create_bucket(name)
    return name
