"""Fixtures of delivery and reconciliation: a collected hour in a database, and an empty bucket."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import psycopg
import pytest
from billing_rows import Rows
from botocore.config import Config

from billing_etl.pipeline.engine import Engine
from billing_etl.settings import Settings, Source


@pytest.fixture
def rows(database_url: str) -> Iterator[Rows]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield Rows(connection)


@pytest.fixture
def s3(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of its own, and the same credentials where the AWS chain finds them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return boto3.session.Session().client(
        "s3", endpoint_url=s3_server.endpoint_url, config=Config(s3={"addressing_style": "path"})
    )


@pytest.fixture(scope="session")
def buckets(s3_server: Any) -> tuple[str, str]:
    """Two buckets for all tests: the server sets a part of its disk aside for each there is."""
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=s3_server.endpoint_url,
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    names = (f"usage-{uuid.uuid4().hex}", f"usage-{uuid.uuid4().hex}")
    for name in names:
        client.create_bucket(Bucket=name)
    return names


@pytest.fixture
def bucket(s3: Any, buckets: tuple[str, str]) -> str:
    """The configured bucket, empty."""
    return _emptied(s3, buckets[0])


@pytest.fixture
def other_bucket(s3: Any, buckets: tuple[str, str]) -> str:
    """A second bucket, empty."""
    return _emptied(s3, buckets[1])


def _emptied(s3: Any, name: str) -> str:
    for entry in s3.list_objects_v2(Bucket=name).get("Contents", ()):
        s3.delete_object(Bucket=name, Key=entry["Key"])
    return name


@pytest.fixture
def settings(database_url: str, s3_server: Any, bucket: str) -> Settings:
    return Settings(
        database_url=database_url,
        sources=(Source("jp-1", "http://127.0.0.1:9", token="unused"),),
        default_region="nowhere",
        s3_enabled=True,
        s3_bucket=bucket,
        s3_prefix="billing",
        s3_endpoint_url=s3_server.endpoint_url,
    )


@pytest.fixture
def engine(settings: Settings) -> Engine:
    return Engine(settings)


@pytest.fixture
def engine_without_s3(settings: Settings) -> Engine:
    return Engine(replace(settings, s3_enabled=False))
