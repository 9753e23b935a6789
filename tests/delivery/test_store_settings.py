"""What goes over the wire: encryption, tags, expected owner ("Settings of the store")."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import botocore.retries.standard
import pytest
from billing_rows import ACCOUNT, HOUR, Rows
from proof.s3_proxy import S3Proxy

from billing_etl.delivery import object_store_from
from billing_etl.errors import BillingError, TerminalError
from billing_etl.hours import HourRange
from billing_etl.pipeline.deliver import DeliverResult, deliver_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.reconcile import reconcile_hours

OWNER = "123456789012"
OWNER_HEADER = "x-amz-expected-bucket-owner"
HOURS = HourRange.single(HOUR)
AFTER_GRACE = HOUR.end + timedelta(hours=1)


def deliver(engine: Engine, **changes: Any) -> DeliverResult:
    changed = Engine(replace(engine.settings, **changes))
    (result,) = deliver_hours(changed, HOURS, now=AFTER_GRACE)
    return result


@pytest.fixture
def proxy(engine: Engine) -> Iterator[S3Proxy]:
    """Between the pipeline and the real server; it keeps what it saw."""
    with S3Proxy(str(engine.settings.s3_endpoint_url), lambda kind, path: False) as proxy:
        yield proxy


@pytest.fixture
def fact(rows: Rows, s3: Any) -> int:
    """One event that waits."""
    rows.source("jp-1")
    rows.source_hour("jp-1")
    series = rows.series("jp-1", ACCOUNT)
    rows.fact(series, 0, 10, 30)
    return series


def keys(s3: Any, bucket: str) -> list[str]:
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]


def test_nothing_is_asked_for_that_was_not_set(engine: Engine, proxy: S3Proxy, fact: int) -> None:
    deliver(engine, s3_endpoint_url=proxy.url)
    assert [request.method for request in proxy.requests] == ["HEAD", "PUT", "PUT"]
    sent = {name.lower() for request in proxy.requests for name in request.headers}
    assert sent & {OWNER_HEADER, "x-amz-tagging", "x-amz-server-side-encryption"} == set()


def test_every_object_carries_the_tags(engine: Engine, s3: Any, bucket: str, fact: int) -> None:
    tags = (("team", "billing & more".replace("& ", "")), ("cost center", "a+b=c/d"))
    deliver(engine, s3_tags=tags)
    assert len(keys(s3, bucket)) == 2
    for key in keys(s3, bucket):
        stored = s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
        assert {tag["Key"]: tag["Value"] for tag in stored} == dict(tags)


def test_every_object_is_encrypted_by_the_store(
    engine: Engine, s3: Any, bucket: str, proxy: S3Proxy, fact: int
) -> None:
    deliver(engine, s3_endpoint_url=proxy.url, s3_sse="AES256")
    asked = [request.header("x-amz-server-side-encryption") for request in proxy.requests]
    assert asked == [None, "AES256", "AES256"]
    for key in keys(s3, bucket):
        head = s3.head_object(Bucket=bucket, Key=key)
        assert head["ServerSideEncryption"] == "AES256"
    # What lies there is still recognised as what was sealed.
    checks = reconcile_hours(engine, HOURS, repair=False, now=AFTER_GRACE).checks
    assert [check.status for check in checks if check.check == "sealed_stored"] == ["clean"]


def test_the_kms_key_is_named(
    engine: Engine, proxy: S3Proxy, fact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded server has no key service: what it is asked for is all that can be seen."""
    monkeypatch.setattr(
        botocore.retries.standard.ExponentialBackoff, "delay_amount", lambda *_: 0.0
    )
    with pytest.raises(BillingError, match="put was answered"):
        deliver(
            engine, s3_endpoint_url=proxy.url, s3_sse="aws:kms", s3_sse_kms_key_id="alias/billing"
        )
    put = proxy.requests[-1]
    assert put.header("x-amz-server-side-encryption") == "aws:kms"
    assert put.header("x-amz-server-side-encryption-aws-kms-key-id") == "alias/billing"


def test_the_expected_owner_goes_with_every_request(
    engine: Engine, s3: Any, bucket: str, proxy: S3Proxy, fact: int
) -> None:
    proxy.owned_by(OWNER)
    settings = replace(engine.settings, s3_endpoint_url=proxy.url, s3_bucket_owner=OWNER)
    deliver(Engine(settings))
    store = object_store_from(settings)
    (key, _) = sorted(keys(s3, bucket), key=lambda key: key.endswith(".json"))
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=body)  # without a checksum: it has to be read
    assert store.head(bucket, key) is not None
    assert store.get(bucket, key) == body
    assert store.replace(bucket, key, body, "application/x-ndjson")
    assert list(store.list_objects(bucket, "billing/"))
    assert {request.method for request in proxy.requests} == {"HEAD", "PUT", "GET"}
    assert {request.header(OWNER_HEADER) for request in proxy.requests} == {OWNER}


def test_a_bucket_that_changed_hands_is_an_error_before_anything_is_sent(
    engine: Engine, rows: Rows, s3: Any, bucket: str, proxy: S3Proxy, fact: int
) -> None:
    proxy.owned_by("999999999999")
    with pytest.raises(TerminalError, match=f"access to a bucket of account {OWNER}, got 403"):
        deliver(engine, s3_endpoint_url=proxy.url, s3_bucket_owner=OWNER)
    assert [request.method for request in proxy.requests] == ["HEAD"]
    assert keys(s3, bucket) == []
    assert rows.one("select sealings from billing_core.deliveries") == 0
    proxy.owned_by(OWNER)
    assert deliver(engine, s3_endpoint_url=proxy.url, s3_bucket_owner=OWNER).events == 1
