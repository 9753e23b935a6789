"""An hour sealed and sent to the embedded S3 server, against a bare loop of the same client.

Small objects (50 events) and large ones (5,000). Every step has a process of its own; sending and
the bare loop alternate, with the same payloads and other keys. Sending is measured as the export
does it: with its run record, its look at the bucket and all marks in the database.
"""

import hashlib
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from benchmarks.checks import count_is
from benchmarks.delivery_worker import BARE_PREFIX
from benchmarks.measures import Measure, Size, at_least, at_most
from benchmarks.rows.hour import HOUR
from benchmarks.stage import PROJECT, Stage, environment
from benchmarks.worlds import Fleet
from billing_etl.batches import decompress
from billing_etl.local.object_store import REGION, EmbeddedObjectStore

_BUCKET: Final = "benchmark"
_CONCURRENCY: Final = 8  # the default of BILLING_S3_CONCURRENCY
_MEGABYTE: Final = 1_000_000
# As if it had never been sent; its objects are removed in between.
_AGAIN: Final = """
update billing_core.batches
set delivered_at = null, etag = null
"""
_STORED: Final = (
    "select object_key, payload, etag, delivered_at is not null from billing_core.batches"
)
_SIZE: Final = "select pg_total_relation_size('billing_core.batches')"


@dataclass(frozen=True, slots=True)
class _Scale:
    accounts: int
    larger: int
    repetitions: Mapping[int, int]
    scaled: str = ""


_SCALES: Final[dict[Size, _Scale]] = {
    "full": _Scale(2500, 4, {50: 5, 5000: 9}),
    "quick": _Scale(500, 4, {50: 2, 5000: 3}, "500 accounts"),
    "tiny": _Scale(20, 2, {50: 1, 5000: 1}, "20 accounts"),
}


@dataclass(frozen=True, slots=True)
class _Hour:
    """A collected and rated hour in a database of its own, and the settings of its delivery."""

    url: str
    events: int
    environment: Mapping[str, str]

    def do(self, step: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.delivery_worker", step, str(HOUR)],
            env=dict(self.environment),
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            check=True,
        )
        took: dict[str, Any] = json.loads(done.stdout)
        return took

    def one(self, query: str) -> Any:
        with psycopg.connect(self.url) as connection:
            row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]

    def send_again(self) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(_AGAIN.encode())


def measure(stage: Stage, size: Size) -> list[Measure]:
    scale = _SCALES[size]
    with EmbeddedObjectStore(stage.directory / "object-store") as store:
        store.create_bucket(_BUCKET)
        measures = []
        for max_events, repetitions in scale.repetitions.items():
            measures += _throughput(stage, store, scale, max_events, repetitions)
    return measures


def _throughput(
    stage: Stage, store: EmbeddedObjectStore, scale: _Scale, max_events: int, repetitions: int
) -> list[Measure]:
    sends: list[dict[str, Any]] = []
    bares: list[dict[str, Any]] = []
    with _collected(stage, store, "delivery", scale.accounts, max_events) as hour:
        empty_bytes = hour.one(_SIZE)
        sealed = hour.do("seal")
        count_is(
            "sealed events", hour.events, hour.one("select sum(events) from billing_core.batches")
        )
        bytes_per_million = (hour.one(_SIZE) - empty_bytes) * 1e6 / hour.events
        objects = hour.one("select count(*) from billing_core.batches")
        for number in range(repetitions):
            if number:
                hour.send_again()
            # Whoever goes first may find the server fresher.
            steps = ("send", "bare") if number % 2 == 0 else ("bare", "send")
            for step in steps:
                stage.settle()
                (sends if step == "send" else bares).append(hour.do(step))
            _check_objects(store, hour)
        events = hour.events
    with _collected(
        stage, store, "delivery-wide", scale.accounts * scale.larger, max_events
    ) as hour:
        larger = [hour.do("seal"), hour.do("send")]
        count_is(
            "undelivered objects",
            0,
            hour.one("select count(*) from billing_core.batches where delivered_at is null"),
        )
        larger_events = hour.events
    rates = [objects / each["seconds"] for each in sends]
    bare_rates = [objects / each["seconds"] for each in bares]
    of = f"{events:,} events, {max_events:,} an object"
    return [
        Measure(
            f"sending: {of}",
            "objects/s",
            rates,
            ratios=[rate / bare for rate, bare in zip(rates, bare_rates, strict=True)],
            ratio_goal=at_least(0.9),
            note=f"{objects:,} objects, {_CONCURRENCY} threads; ratio: to a bare loop of "
            f"put_object; {statistics.median(rates) * events / objects:,.0f} events/s",
            cpu_seconds={"exporter of objects": sends[-1]["cpu_seconds"]},
            scaled=scale.scaled,
            details={"bare": bare_rates},
        ),
        Measure(
            f"sealing: {of}",
            "events/s",
            [events / sealed["seconds"], larger_events / larger[0]["seconds"]],
            note=f"the second of {larger_events:,} events",
            cpu_seconds={"exporter of objects": sealed["cpu_seconds"]},
            scaled=scale.scaled,
        ),
        Measure(
            f"peak memory, sealing {larger_events:,} events, {max_events:,} an object",
            "MB",
            [larger[0]["peak_bytes"] / _MEGABYTE],
            ratios=[larger[0]["peak_bytes"] / sealed["peak_bytes"]],
            ratio_goal=at_most(1.1),
            note=f"ratio: to {events:,} events",
            scaled=scale.scaled,
        ),
        Measure(
            f"peak memory, sending {larger_events:,} events, {max_events:,} an object",
            "MB",
            [larger[1]["peak_bytes"] / _MEGABYTE],
            ratios=[larger[1]["peak_bytes"] / max(each["peak_bytes"] for each in sends)],
            ratio_goal=at_most(1.1),
            note=f"ratio: to {events:,} events",
            scaled=scale.scaled,
        ),
        Measure(
            f"stored payloads of a million events, {max_events:,} an object",
            "MB",
            [bytes_per_million / _MEGABYTE],
            note="table batches with its indexes and payloads",
            scaled=scale.scaled,
        ),
    ]


@contextmanager
def _collected(
    stage: Stage, store: EmbeddedObjectStore, name: str, accounts: int, max_events: int
) -> Iterator[_Hour]:
    fleet = Fleet(stage.worlds, f"{name}-{max_events}", range(accounts))
    fleet.serve([HOUR])
    sources = [stage.source(fleet)]
    with stage.database() as url:
        stage.run(url, sources, [HOUR])
        yield _Hour(
            url,
            fleet.expected.facts,
            environment(url, sources)
            | {
                "BILLING_S3_ENABLED": "true",
                "BILLING_S3_BUCKET": _BUCKET,
                "BILLING_S3_PREFIX": name,
                "BILLING_S3_ENDPOINT_URL": store.endpoint_url,
                "BILLING_S3_CONCURRENCY": str(_CONCURRENCY),
                "BILLING_S3_MAX_EVENTS": str(max_events),
                "AWS_ACCESS_KEY_ID": store.access_key,
                "AWS_SECRET_ACCESS_KEY": store.secret_key,
                "AWS_DEFAULT_REGION": REGION,
            },
        )


def _check_objects(store: EmbeddedObjectStore, hour: _Hour) -> None:
    """Every object is there with the bytes that were sealed, and recorded; then removes them."""
    client = store.client()
    listed: dict[str, str] = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=_BUCKET):
        listed |= {each["Key"]: each["ETag"].strip('"') for each in page.get("Contents", [])}
    with psycopg.connect(hour.url) as connection, connection.cursor(binary=True) as cursor:
        for key, payload, etag, is_delivered in cursor.execute(_STORED.encode()):
            md5 = hashlib.md5(decompress(payload), usedforsecurity=False).hexdigest()
            held = [listed.get(key), listed.get(BARE_PREFIX + key), etag, is_delivered]
            if held != [md5, md5, md5, True]:
                raise RuntimeError(f"{key}: expected {md5} sent, bare and recorded, got {held}")
    keys = list(listed)
    for start in range(0, len(keys), 1000):
        names = [{"Key": key} for key in keys[start : start + 1000]]
        client.delete_objects(Bucket=_BUCKET, Delete={"Objects": names, "Quiet": True})  # type: ignore[typeddict-item]
