"""A small world behind proxies, for chosen kills and cuts."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.local.postgres import EmbeddedPostgres
from proof.crash_site import CrashSite, Services
from proof.crashes import crash_world

# A world of two hours with facts, money and several objects in each.
SEED = 2


@pytest.fixture(scope="session")
def services(
    postgres_server: EmbeddedPostgres, migrated_template: str, object_store: EmbeddedObjectStore
) -> Iterator[Services]:
    bucket = f"proof-{uuid.uuid4().hex}"
    object_store.create_bucket(bucket)
    with Services.behind_proxies(
        postgres_server, migrated_template, object_store, bucket
    ) as behind:
        yield behind


@pytest.fixture
def site(services: Services, tmp_path: Path) -> Iterator[CrashSite]:
    with CrashSite.of(services, crash_world(SEED), tmp_path) as site:
        yield site
