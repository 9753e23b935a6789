"""The object store is away for a day: nothing is held back, everything drains ("Outage")."""

import gc
import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import botocore.retries.standard
import pytest
from billing_rows import HOUR, Rows
from proof.s3_proxy import S3Proxy

from billing_etl.errors import RetryableError
from billing_etl.hours import Hour, HourRange
from billing_etl.local.exporter_server import ExporterServer
from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.pipeline.attention import findings
from billing_etl.pipeline.collect import collect_hours
from billing_etl.pipeline.deliver import deliver_hours, pending_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.heartbeat import delivery_health
from billing_etl.pipeline.rate import rate_hours
from billing_etl.settings import Settings, Source

DAY = [Hour(HOUR.index + number) for number in range(25)]
ACCOUNTS = [f"3f2b0a1c-0000-4000-8000-{number:012d}" for number in range(10)]
BUCKET = "usage-of-a-day"
TOKEN = "exporter-token"
SOON = timedelta(minutes=5)


def counters() -> list[dict[str, Any]]:
    """A snapshot a minute; account n uses n + 1 bytes up in each, and as many down."""
    snapshots = []
    for minute in range(DAY[0].first_minute - 1, DAY[-1].next.first_minute):
        total = minute - DAY[0].first_minute + 2
        at = Hour(minute // 60).start + timedelta(minutes=minute % 60, seconds=3)
        samples = [
            {
                "uuid": account,
                "email": "unknown",
                "inbound_tag": "tcp",
                "uplink_bytes_total": total * number,
                "downlink_bytes_total": total * number,
            }
            for number, account in enumerate(ACCOUNTS, start=1)
        ]
        collected_at = f"{at:%Y-%m-%dT%H:%M:%SZ}"
        snapshots.append(
            {"collected_at": collected_at, "node_id": "n-1", "env": "prod", "samples": samples}
        )
    return snapshots


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedObjectStore]:
    """A server of the test's own, that it may stop."""
    with EmbeddedObjectStore(tmp_path / "store") as server:
        server.create_bucket(BUCKET)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield server


@pytest.fixture
def engine(database_url: str, store: EmbeddedObjectStore, tmp_path: Path) -> Iterator[Engine]:
    file = tmp_path / "snapshots.json"
    file.write_text(json.dumps(counters()))
    with ExporterServer(file, "127.0.0.1:0", TOKEN) as exporter:
        yield Engine(
            Settings(
                database_url=database_url,
                sources=(Source("jp-1", exporter.base_url, token=TOKEN),),
                price_per_byte=Decimal(2),
                s3_enabled=True,
                s3_bucket=BUCKET,
                s3_endpoint_url=store.endpoint_url,
            )
        )


@contextmanager
def no_waiting_between_attempts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(botocore.retries.standard.ExponentialBackoff, "delay_amount", lambda *_: 0.0)
        yield


def collect_and_rate(engine: Engine, rows: Rows, hour: Hour) -> None:
    """As at two minutes past the hour: what the test's clock says stands in the database too."""
    summary = collect_hours(engine, engine.settings.sources, [hour])
    assert [result.state for result in summary.results] == ["complete"]
    assert summary.failures == []
    rate_hours(engine, HourRange.single(hour))
    rows.connection.execute(
        "update billing_core.source_hours set changed_at = %s where hour = %s",
        (hour.end + timedelta(minutes=2), hour.index),
    )


def health(engine: Engine, hour: Hour) -> dict[str, Any]:
    (row,) = delivery_health(engine, now=hour.end + SOON)
    return row


def test_a_day_without_the_object_store(
    engine: Engine, rows: Rows, store: EmbeddedObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *day = DAY
    collect_and_rate(engine, rows, first)
    deliver_hours(engine, HourRange.single(first), now=first.end + SOON)
    rows.connection.execute(
        "update billing_core.delivery_heartbeats set last_success = %s", (first.end + SOON,)
    )
    assert health(engine, first)["state"] == "flowing"

    store.stop()
    seen: list[dict[str, Any]] = []
    memory: list[int] = []
    tracemalloc.start()
    with no_waiting_between_attempts(monkeypatch):
        for hour in day:
            collect_and_rate(engine, rows, hour)
            with pytest.raises(RetryableError, match=f"s3://{BUCKET}: .* no answer") as caught:
                deliver_hours(engine, HourRange.single(hour), now=hour.end + SOON)
            assert "\n" not in str(caught.value)
            seen.append(health(engine, hour))
            gc.collect()
            memory.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()

    # Every event waits, is counted, and is as old as it is; the alert opens once, and stays.
    assert [row["backlog"] for row in seen] == [600 * number for number in range(1, 25)]
    assert [row["offered"] for row in seen] == [600 * number for number in range(2, 26)]
    assert {row["delivered"] for row in seen} == {600}
    assert [row["oldest_age_seconds"] for row in seen] == [
        3600 * number + SOON.seconds for number in range(1, 25)
    ]
    assert [row["state"] for row in seen] == ["behind"] * 2 + ["stalled"] * 22
    (finding,) = findings(engine, include_closed=True)
    assert (finding["kind"], finding["subject"]) == ("delivery_stalled", "traffic_bytes")
    assert finding["closed_at"] is None
    assert "14400 events wait, the oldest of 2026-04-08T13:00Z" in finding["message"]
    assert rows.one("select count(*) from billing_core.batches") == 13  # of the first hour
    # A payload of each failed hour would be a quarter of a megabyte.
    assert memory[-1] - memory[2] < 1_000_000

    # Nothing was held back.
    expected = {account: 2 * (number + 1) * 60 * 25 for number, account in enumerate(ACCOUNTS)}
    counted = rows.all(
        "select account_uuid::text, sum(total_bytes) from billing.usage_days group by 1"
    )
    assert {account: int(total) for account, total in counted} == expected
    unrated = "select count(*) from billing_core.account_hours where stale or not rated"
    assert rows.one(unrated) == 0

    store.start()
    now = day[-1].end + 2 * SOON
    assert pending_hours(engine, day[-1].next) == day
    with S3Proxy(store.endpoint_url, lambda kind, path: False) as proxy:
        through = Engine(replace(engine.settings, s3_endpoint_url=proxy.url))
        results = deliver_hours(through, HourRange(day[0], day[-1].next), now=now)
        puts = [request.path for request in proxy.requests if request.method == "PUT"]
    assert [(result.outcome, result.events) for result in results] == [("sealed", 600)] * 24
    assert pending_hours(engine, day[-1].next) == []

    # Oldest first, no object twice, each manifest after its batches.
    hour_of = [tuple(path.split("/")[3:7]) for path in puts]
    assert hour_of == sorted(hour_of)
    assert len(puts) == len(set(puts)) == 24 * 13
    for number in range(24):
        kinds = ["manifest" in path for path in puts[number * 13 : number * 13 + 13]]
        assert kinds == [False] * 12 + [True]

    # A consumer who keeps each id once and sums; nothing to keep once, in fact.
    client = store.client()
    ids: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for entry in page["Contents"]:
            if entry["Key"].endswith(".jsonl"):
                body = client.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
                for line in body.splitlines():
                    event = json.loads(line)
                    ids[event["id"]] += 1
                    sums[event["properties"]["resource_id"]] += event["properties"]["usage"]
    assert set(ids.values()) == {1}
    assert dict(sums) == expected

    (after,) = delivery_health(engine, now=now)
    assert (after["state"], after["backlog"], after["delivered"]) == ("flowing", 0, 600 * 25)
    (finding,) = findings(engine, include_closed=True)
    assert (finding["resolution"], finding["closed_at"] is None) == ("withdrawn", False)
