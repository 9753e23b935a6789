"""The quick profile of the walk through random worlds; ``make prove`` walks much further."""

import logging
from collections.abc import Iterator

import pytest

from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.local.postgres import EmbeddedPostgres
from proof.site import Site, credentials, one_service_model
from proof.walk import walk


@pytest.fixture
def at(
    postgres_server: EmbeddedPostgres,
    migrated_template: str,
    object_store: EmbeddedObjectStore,
    bucket: str,
) -> Iterator[Site]:
    with credentials(object_store), one_service_model():
        yield Site(postgres_server, object_store, bucket, migrated_template)


def test_any_steps_in_any_order_leave_what_the_oracle_computes(
    at: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)

    done = walk(at, 1, worlds=3, steps=30, shrink=False)

    assert done["worlds equal to the oracle at the end"] == done["worlds"] == 3
    assert done["steps that changed the database"] > 20
    assert done["bills equal to the oracle"] > 10
