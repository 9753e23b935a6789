"""An S3 server for the steps that deliver."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

from benchmarks.stage import Stage
from billing_etl.local.object_store import REGION, EmbeddedObjectStore

_BUCKET: Final = "serverless-usage-benchmark"

Variables: TypeAlias = dict[str, str]


@contextmanager
def object_store(stage: Stage) -> Iterator[tuple[Variables, Variables]]:
    """The settings that deliver there, and the variables with its keys."""
    with EmbeddedObjectStore(stage.directory / "objects") as objects:
        objects.create_bucket(_BUCKET)
        settings = {
            "BILLING_S3_ENABLED": "true",
            "BILLING_S3_BUCKET": _BUCKET,
            "BILLING_S3_ENDPOINT_URL": objects.endpoint_url,
        }
        keys = {
            "AWS_ACCESS_KEY_ID": objects.access_key,
            "AWS_SECRET_ACCESS_KEY": objects.secret_key,
            "AWS_DEFAULT_REGION": REGION,
        }
        yield settings, keys
