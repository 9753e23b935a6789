"""Buckets per environment, and buckets that vanish ("Path and limits", "Sealing")."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from billing_rows import ACCOUNT, HOUR, Rows

from billing_etl.delivery import ObjectStore
from billing_etl.errors import TerminalError
from billing_etl.hours import HourRange
from billing_etl.pipeline.deliver import deliver_hours, pending_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.settings import Settings

HOURS = HourRange.single(HOUR)
AFTER_GRACE = HOUR.end + timedelta(hours=1)


@pytest.fixture
def series(rows: Rows, s3: Any) -> int:
    rows.source("jp-1")
    rows.source_hour("jp-1")
    return rows.series("jp-1", ACCOUNT)


def keys(s3: Any, bucket: str) -> list[str]:
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]


def usage(s3: Any, bucket: str) -> int:
    """What a consumer sums who keeps each id once."""
    events = {}
    for key in keys(s3, bucket):
        if key.endswith(".jsonl"):
            for line in s3.get_object(Bucket=bucket, Key=key)["Body"].read().splitlines():
                event = json.loads(line)
                events[event["id"]] = event["properties"]["usage"]
    return sum(events.values())


def buckets(s3: Any) -> set[str]:
    return {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}


def remove(s3: Any, bucket: str) -> None:
    for key in keys(s3, bucket):
        s3.delete_object(Bucket=bucket, Key=key)
    s3.delete_bucket(Bucket=bucket)


@pytest.fixture
def doomed(s3: Any, bucket: str) -> Iterator[str]:
    """A bucket that a test may remove."""
    name = f"{bucket}-doomed"
    s3.create_bucket(Bucket=name)
    yield name
    if name in buckets(s3):
        remove(s3, name)


@pytest.mark.parametrize("environment", ["dev", "test", "prod"])
def test_an_environment_has_its_own_bucket(
    settings: Settings, rows: Rows, series: int, s3: Any, bucket: str, environment: str
) -> None:
    name = f"serverless-usage-{environment}"
    s3.create_bucket(Bucket=name)
    try:
        rows.fact(series, 0, 10, 30)
        engine = Engine(
            Settings.from_environment(
                {
                    "DATABASE_URL": settings.require_database_url(),
                    "BILLING_S3_ENABLED": "true",
                    "BILLING_ENV": environment,
                    "BILLING_S3_ENDPOINT_URL": str(settings.s3_endpoint_url),
                }
            )
        )
        deliver_hours(engine, HOURS, now=AFTER_GRACE)
        assert usage(s3, name) == 40
        assert len(keys(s3, name)) == 2
        assert keys(s3, bucket) == []
    finally:
        remove(s3, name)


def test_a_bucket_that_vanished_between_two_runs(
    engine: Engine, rows: Rows, series: int, s3: Any, doomed: str
) -> None:
    engine = Engine(replace(engine.settings, s3_bucket=doomed))
    rows.fact(series, 0, 10, 30)
    deliver_hours(engine, HOURS, now=AFTER_GRACE)
    remove(s3, doomed)
    rows.fact(series, 1, 1, 1)
    with pytest.raises(TerminalError, match=f"s3://{doomed}: expected an existing bucket, got 404"):
        deliver_hours(engine, HOURS, now=AFTER_GRACE)
    assert doomed not in buckets(s3)
    assert rows.one("select sealings from billing_core.deliveries") == 1
    s3.create_bucket(Bucket=doomed)
    deliver_hours(engine, HOURS, now=AFTER_GRACE)
    assert usage(s3, doomed) == 2
    assert pending_hours(engine, HOUR.next) == []


@pytest.fixture
def vanishing(s3: Any, doomed: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The bucket vanishes after the second object, with what was in it."""
    put = ObjectStore.put
    confirmed: list[str] = []

    def then_remove(store: ObjectStore, *arguments: Any) -> str:
        etag = put(store, *arguments)
        confirmed.append(etag)
        if len(confirmed) == 2:
            remove(s3, doomed)
        return etag

    monkeypatch.setattr(ObjectStore, "put", then_remove)
    return doomed


def test_a_bucket_that_vanishes_in_the_middle_of_a_run(
    engine: Engine, rows: Rows, series: int, s3: Any, vanishing: str
) -> None:
    engine = Engine(
        replace(engine.settings, s3_bucket=vanishing, s3_max_events=1, s3_concurrency=1)
    )
    for minute in range(6):
        rows.fact(series, minute, 1, 0)
    with pytest.raises(TerminalError, match=f"s3://{vanishing}.*404"):
        deliver_hours(engine, HOURS, now=AFTER_GRACE)
    assert vanishing not in buckets(s3)
    undelivered = "select count(*) from billing_core.batches where delivered_at is null"
    assert rows.one(undelivered) == 5  # four batches and the manifest
    s3.create_bucket(Bucket=vanishing)
    deliver_hours(engine, HOURS, now=AFTER_GRACE)
    assert rows.one(undelivered) == 0
    assert usage(s3, vanishing) == 4  # what was confirmed before is for reconciliation to find


def test_what_waits_for_a_bucket_that_is_gone_goes_to_the_one_that_is_configured_now(
    engine: Engine, rows: Rows, series: int, s3: Any, bucket: str, vanishing: str
) -> None:
    settings = replace(engine.settings, s3_max_events=1, s3_concurrency=1)
    for minute in range(6):
        rows.fact(series, minute, 1, 0)
    with pytest.raises(TerminalError):
        deliver_hours(Engine(replace(settings, s3_bucket=vanishing)), HOURS, now=AFTER_GRACE)
    sealed = (
        "select ordinal, kind, sha256 from billing_core.batches where kind = 'events' order by 1"
    )
    before = rows.all(sealed)
    (result,) = deliver_hours(Engine(settings), HOURS, now=AFTER_GRACE)
    assert (result.outcome, result.batches) == ("sent", 4)
    assert rows.all(sealed) == before
    assert usage(s3, bucket) == 4
    (name,) = (key for key in keys(s3, bucket) if key.endswith("_manifest-1.json"))
    manifest = json.loads(s3.get_object(Bucket=bucket, Key=name)["Body"].read())
    # It says where each batch is: two were confirmed before their bucket vanished.
    assert [entry["bucket"] for entry in manifest["batches"]] == [vanishing] * 2 + [bucket] * 4
    assert manifest["totals"]["events"] == 6
    assert vanishing not in buckets(s3)
