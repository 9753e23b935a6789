"""The same facts in every form, on real PostgreSQL, a real S3 server and DuckDB.

What a consumer needs to know of an envelope stands in ``CONSUMERS``: keep each id once, and sum.
"""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, get_args

import duckdb
import psycopg
import pytest
from billing_rows import ACCOUNT, HOUR, OTHER_ACCOUNT, Rows

from billing_etl.delivery import ObjectStore
from billing_etl.errors import RetryableError, UsageError
from billing_etl.hours import HourRange
from billing_etl.pipeline.deliver import deliver_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.reconcile import reconcile_hours
from billing_etl.settings import EnvelopeName, Settings

ROOT = Path(__file__).resolve().parents[2]
HOURS = HourRange(HOUR, HOUR.next.next)
AFTER_GRACE = HOURS.end.start + timedelta(hours=1)
JSON = dict[str, Any]


class Consumer(NamedTuple):
    event_id: Callable[[JSON], str]
    account: Callable[[JSON], str]
    usage: Callable[[JSON], int]


CONSUMERS = {
    "billing_event": Consumer(
        lambda event: event["id"],
        lambda event: event["properties"]["resource_id"],
        lambda event: event["properties"]["usage"],
    ),
    "cloudevents": Consumer(
        lambda event: event["id"],
        lambda event: event["subject"],
        lambda event: event["data"]["value"],
    ),
    "usage_event": Consumer(
        lambda event: event["idempotency_key"],
        lambda event: event["tenant_id"],
        lambda event: event["quantity"],
    ),
}


class Stored:
    """What lies below a prefix of the bucket, read with a client of its own."""

    def __init__(self, s3: Any, bucket: str, prefix: str) -> None:
        self.s3, self.bucket, self.prefix = s3, bucket, prefix

    def objects(self) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2")
        return sorted(
            entry["Key"]
            for page in pages.paginate(Bucket=self.bucket, Prefix=f"{self.prefix}/")
            for entry in page.get("Contents", ())
        )

    def body(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body

    def events(self, keys: list[str] | None = None) -> list[JSON]:
        return [
            json.loads(line)
            for key in (self.objects() if keys is None else keys)
            if key.endswith(".jsonl")
            for line in self.body(key).splitlines()
        ]

    def sums(self, envelope: str) -> dict[str, int]:
        """By account, of a consumer that reads everything twice."""
        consumer = CONSUMERS[envelope]
        known: dict[str, JSON] = {}
        for event in self.events() + self.events():
            known.setdefault(consumer.event_id(event), event)
        sums = Counter[str]()
        for event in known.values():
            sums[consumer.account(event)] += consumer.usage(event)
        return dict(sums)

    def manifest(self, number: int) -> JSON:
        (key,) = [key for key in self.objects() if key.endswith(f"_manifest-{number}.json")]
        manifest: JSON = json.loads(self.body(key))
        return manifest

    def download(self, directory: Path) -> None:
        for key in self.objects():
            path = directory / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.body(key))


class World(NamedTuple):
    """A database whose hours change, sealed and delivered after every change."""

    engine: Engine
    rows: Rows
    stored: Stored

    def deliver(self, **changes: Any) -> None:
        engine = Engine(replace(self.engine.settings, **changes))
        deliver_hours(engine, HOURS, now=AFTER_GRACE)

    def live(self, **changes: Any) -> None:
        """Corrections up, down, to zero and back, late facts, a second hour; five sealings."""
        rows = self.rows
        rows.source("jp-1", region="tokyo")
        rows.source_hour("jp-1")
        rows.source_hour("jp-1", HOUR.next)
        tcp, udp = rows.series("jp-1"), rows.series("jp-1", ACCOUNT, "udp")
        other = rows.series("jp-1", OTHER_ACCOUNT)
        for minute in range(5):
            rows.fact(tcp, minute, 10, 30)
            rows.fact(other, minute, 2**40, minute)
        rows.fact(udp, 7, 5, 5, HOUR.next)
        self.deliver(**changes)
        rows.fact(tcp, 0, 15, 45)  # up
        rows.fact(tcp, 1, 4, 30)  # down
        rows.fact(tcp, 2, 30, 10)  # as much, the other way
        rows.no_fact(tcp, 3)  # to zero
        rows.no_fact(other, 0)
        self.deliver(**changes)
        rows.fact(tcp, 3, 7, 0)  # and back
        rows.fact(udp, 59, 1, 2)  # late
        rows.no_fact(udp, 7, HOUR.next)
        self.deliver(**changes)
        rows.fact(other, 0, 2**40, 0)
        self.deliver(**changes)
        rows.no_fact(other, 0)
        rows.no_fact(other, 1)
        self.deliver(**changes)

    def in_database(self) -> dict[str, int]:
        return dict(
            self.rows.all(
                "select account_uuid::text, sum(total_bytes)::bigint from billing.usage_minutes"
                " group by 1"
            )
        )

    def checked(self, **changes: Any) -> dict[str, tuple[str, list[str]]]:
        """What the two checks of delivery say of both hours, without repairs."""
        engine = Engine(replace(self.engine.settings, **changes))
        result = reconcile_hours(engine, HOURS, repair=False, now=AFTER_GRACE)
        return {
            f"{check.check} {check.hour}": (check.status, check.details)
            for check in result.checks
            if check.check in {"facts_events", "sealed_stored"}
        }


CLEAN: dict[str, tuple[str, list[str]]] = {
    f"{check} {hour}": ("clean", [])
    for check in ("facts_events", "sealed_stored")
    for hour in HOURS
}


@pytest.fixture
def world(settings: Settings, rows: Rows, s3: Any, bucket: str) -> World:
    engine = Engine(replace(settings, sources=()))
    return World(engine, rows, Stored(s3, bucket, settings.s3_prefix))


@pytest.fixture
def worlds(
    postgres_server: Any, migrated_template: str, settings: Settings, s3: Any, bucket: str
) -> Iterator[dict[str, World]]:
    """One for each envelope: a database and a prefix of its own."""
    worlds = {}
    for envelope in get_args(EnvelopeName):
        database = f"{envelope}_{uuid.uuid4().hex}"
        postgres_server.create_database(database, migrated_template)
        url = postgres_server.url(database)
        own = replace(settings, database_url=url, s3_prefix=envelope, envelope=envelope, sources=())
        connection = psycopg.connect(url, autocommit=True)
        worlds[envelope] = World(Engine(own), Rows(connection), Stored(s3, bucket, envelope))
    yield worlds
    for world in worlds.values():
        world.rows.connection.close()


def test_a_consumer_reads_the_same_totals_from_every_envelope(worlds: dict[str, World]) -> None:
    ids = {}
    for envelope, world in worlds.items():
        world.live()
        consumer = CONSUMERS[envelope]
        events = world.stored.events()
        ids[envelope] = [consumer.event_id(event) for event in events]
        assert len(set(ids[envelope])) == len(events) > 20
        assert min(consumer.usage(event) for event in events) < 0
        assert world.stored.sums(envelope) == world.in_database()
        assert world.checked() == CLEAN
    expected = {ACCOUNT: 60 + 34 + 40 + 7 + 40 + 3, OTHER_ACCOUNT: 3 * 2**40 + 2 + 3 + 4}
    assert [world.in_database() for world in worlds.values()] == [expected] * 3
    assert len({frozenset(each) for each in ids.values()}) == 1


# --- layouts ---------------------------------------------------------------------------------

ORIGINAL = "{event_type}/{year}/{month}/{day}/{hour}/{minute}/{uuid}.jsonl"


@pytest.mark.parametrize("envelope", list(CONSUMERS))
@pytest.mark.parametrize("template", [None, ORIGINAL], ids=["its own", "original"])
@pytest.mark.parametrize(("max_events", "max_bytes"), [(2, 10**6), (50, 600)])
def test_limits_hold_in_every_envelope_and_layout(
    world: World, envelope: str, template: str | None, max_events: int, max_bytes: int
) -> None:
    long_tag = "t" * 255
    limits = {"s3_max_events": max_events, "s3_max_bytes": max_bytes}
    world.rows.source("jp-1")
    world.rows.source_hour("jp-1")
    world.rows.source_hour("jp-1", HOUR.next)
    for account, tag in [(ACCOUNT, "tcp"), (ACCOUNT, long_tag), (OTHER_ACCOUNT, "tcp")]:
        series = world.rows.series("jp-1", account, tag)
        for minute in (1, 2, 3):
            world.rows.fact(series, minute, 1, 0)
    world.deliver(envelope=envelope, s3_path_template=template, **limits)
    keys = [key for key in world.stored.objects() if "_manifest" not in key]
    batches = [world.stored.events([key]) for key in keys]
    sizes = [len(world.stored.body(key)) for key in keys]
    assert sum(len(events) for events in batches) == 9
    for events, size in zip(batches, sizes, strict=True):
        assert len(events) <= max_events
        # What is larger than the limit travels alone.
        assert size <= max_bytes or len(events) == 1
    if max_bytes == 600:
        assert [size for size in sizes if size > max_bytes]
    assert world.checked(envelope=envelope, s3_path_template=template) == CLEAN


def test_usage_events_lie_by_date_and_tenant_and_manifests_by_hour(world: World) -> None:
    world.live(envelope="usage_event")
    hour = "billing/traffic_bytes/date=2026-04-08/hour=12/"
    batches = [key for key in world.stored.objects() if key.startswith(hour) and ".jsonl" in key]
    for key in batches:
        tenants = {event["tenant_id"] for event in world.stored.events([key])}
        assert key.startswith(f"{hour}tenant_id={next(iter(tenants))}/")
        assert len(tenants) == 1
    assert {key.split("tenant_id=")[1].split("/")[0] for key in batches} == {ACCOUNT, OTHER_ACCOUNT}
    manifests = [key for key in world.stored.objects() if key.startswith(hour) and ".json" in key]
    manifests = [key for key in manifests if key not in batches]
    assert manifests == [f"{hour}_manifest-{number}.json" for number in range(1, 6)]
    newest = json.loads(world.stored.body(manifests[-1]))
    assert sorted(entry["key"] for entry in newest["batches"]) == batches
    assert {entry["envelope"] for entry in newest["batches"]} == {"usage_event"}


def test_any_template_with_a_tenant_keeps_accounts_apart(world: World) -> None:
    template = "{event_type}/{year}/{month}/{day}/{hour}/{tenant}/{batch}.jsonl"
    world.live(s3_path_template=template)
    batches = [key for key in world.stored.objects() if key.endswith(".jsonl")]
    for key in batches:
        accounts = {event["properties"]["resource_id"] for event in world.stored.events([key])}
        assert accounts == {key.split("/")[-2]}
    assert world.stored.sums("billing_event") == world.in_database()


def test_a_template_that_mixes_hours_is_refused_before_anything_is_sealed(world: World) -> None:
    with pytest.raises(UsageError, match="BILLING_S3_PATH_TEMPLATE: expected a path such as"):
        world.deliver(s3_path_template="{event_type}/{batch}.jsonl")
    assert world.rows.all("select 1 from billing_core.runs") == []


# --- switching -------------------------------------------------------------------------------


@pytest.mark.parametrize("before", list(CONSUMERS))
@pytest.mark.parametrize("after", list(CONSUMERS))
def test_a_switch_of_the_envelope_touches_nothing_that_was_sealed(
    world: World, monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> None:
    def fail(*_: object) -> None:
        raise RetryableError("no answer")

    series = self_contained(world)
    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "put", fail)
        with pytest.raises(RetryableError):
            world.deliver(envelope=before)
    objects = "select object_key, sha256 from billing_core.batches order by batch_id"
    sealed = world.rows.all(objects)
    world.deliver(envelope=after)
    assert world.rows.all(objects)[: len(sealed)] == sealed
    assert world.checked(envelope=after) == CLEAN
    first = world.stored.objects()
    world.rows.fact(series, 0, 15, 45)
    world.deliver(envelope=after)
    correction = [key for key in world.stored.objects() if key not in first]
    (event,) = world.stored.events(correction)
    assert CONSUMERS[after].usage(event) == 20
    # The old form is read with its own envelope, the new one with the new.
    old = world.stored.events(first)
    known = {CONSUMERS[before].event_id(each): CONSUMERS[before].usage(each) for each in old}
    assert sum(known.values()) + 20 == sum(world.in_database().values())
    assert world.checked(envelope=after) == CLEAN
    assert world.checked(envelope=before) == CLEAN


def self_contained(world: World) -> int:
    """One fact in one hour; both hours collected."""
    world.rows.source("jp-1", region="tokyo")
    world.rows.source_hour("jp-1")
    world.rows.source_hour("jp-1", HOUR.next)
    series = world.rows.series("jp-1")
    world.rows.fact(series, 0, 10, 30)
    return series


# --- parquet ---------------------------------------------------------------------------------

BOTH = frozenset({"jsonl", "parquet"})


def ask(directory: Path, query: str) -> list[tuple[Any, ...]]:
    """DuckDB with the ready statements, over files as they were downloaded."""
    ddl = (ROOT / "sql/external/duckdb.sql").read_text("utf-8")
    assert ddl.count("'s3://serverless-usage-prod/") == 1
    with duckdb.connect() as connection:
        connection.execute(ddl.replace("s3://serverless-usage-prod", f"{directory}/billing"))
        return connection.execute(query).fetchall()


def test_duckdb_has_the_totals_of_postgresql(world: World, tmp_path: Path) -> None:
    world.live(s3_formats=BOTH)
    world.stored.download(tmp_path)
    assert ask(
        tmp_path,
        "select account_uuid, date, hour, sum(usage)::bigint from traffic_bytes"
        " group by all having sum(usage) <> 0 order by all",
    ) == world.rows.all(
        "select account_uuid::text, (minute at time zone 'UTC')::date,"
        " extract(hour from minute at time zone 'UTC')::int, sum(total_bytes)::bigint"
        " from billing.usage_minutes group by 1, 2, 3 order by 1, 2, 3"
    )
    assert ask(
        tmp_path,
        "select epoch(minute)::bigint, source_id, env, node_id, account_uuid, inbound_tag, region,"
        " sum(uplink_bytes)::bigint, sum(downlink_bytes)::bigint,"
        " max_by(usage_total, revision), max(revision)"
        " from traffic_bytes group by all having sum(usage) <> 0 order by all",
    ) == world.rows.all(
        "select extract(epoch from minute)::bigint, source_id, env, node_id, account_uuid::text,"
        " inbound_tag, region, uplink_bytes, downlink_bytes, total_bytes, revision"
        " from billing.usage_minutes order by 1, 2, 3, 4, 5, 6"
    )


def test_parquet_and_lines_are_the_same_events(world: World, tmp_path: Path) -> None:
    world.live(s3_formats=BOTH)
    world.stored.download(tmp_path)
    lines = {
        (event["id"], event["properties"]["usage"], event["properties"].get("corrects"))
        for event in world.stored.events()
    }
    assert set(ask(tmp_path, "select event_id, usage, corrects from traffic_bytes_files")) == lines
    assert world.checked(s3_formats=BOTH) == CLEAN
    assert world.checked() == CLEAN  # switched off again


def test_an_event_that_was_copied_counts_once(world: World, tmp_path: Path) -> None:
    world.live(s3_formats=BOTH)
    world.stored.download(tmp_path)
    for path in list(tmp_path.rglob("*.parquet")):
        path.with_suffix(".copy.parquet").write_bytes(path.read_bytes())
    (twice,) = ask(tmp_path, "select count(*) from traffic_bytes_files")
    (once,) = ask(tmp_path, "select count(*), sum(usage)::bigint from traffic_bytes")
    assert once == (twice[0] // 2, sum(world.in_database().values()))


def test_parquet_files_lie_by_date_and_hour_and_stand_in_the_manifest(world: World) -> None:
    world.live(s3_formats=BOTH)
    files = [key for key in world.stored.objects() if key.endswith(".parquet")]
    noon = "billing/parquet/traffic_bytes/date=2026-04-08/hour=12/"
    assert {key.rsplit("/", 1)[0] + "/" for key in files} == {noon, noon.replace("12", "13")}
    newest = world.stored.manifest(5)
    assert newest["parquet"]["totals"] | {"bytes": 0, "batches": 0} == newest["totals"] | {
        "bytes": 0, "batches": 0,
    }  # fmt: skip
    assert newest["totals"]["usage"] == sum(world.in_database().values())
    named = [entry["key"] for entry in newest["parquet"]["batches"]]
    assert named == [key for key in files if key.startswith(noon)]
    head = world.stored.s3.head_object(
        Bucket=world.stored.bucket, Key=named[0], ChecksumMode="ENABLED"
    )
    assert head["ContentType"] == "application/vnd.apache.parquet"
    assert head["ChecksumSHA256"]


def test_parquet_goes_before_the_manifest_that_names_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = ObjectStore.put

    def fail_parquet(store: ObjectStore, bucket: str, key: str, *rest: Any) -> str:
        if key.endswith(".parquet"):
            raise RetryableError("no answer")
        return put(store, bucket, key, *rest)

    self_contained(world)
    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "put", fail_parquet)
        with pytest.raises(RetryableError):
            world.deliver(s3_formats=BOTH)
    assert [key.rsplit(".", 1)[1] for key in world.stored.objects()] == ["jsonl"]
    world.deliver()  # sealed is sealed, whatever the setting says now
    assert len([key for key in world.stored.objects() if key.endswith(".parquet")]) == 1


def test_parquet_begins_with_the_next_sealing(world: World, tmp_path: Path) -> None:
    series = self_contained(world)
    world.deliver()
    world.deliver(s3_formats=BOTH)
    assert not [key for key in world.stored.objects() if key.endswith(".parquet")]
    world.rows.fact(series, 0, 15, 45)
    world.deliver(s3_formats=BOTH)
    world.stored.download(tmp_path)
    assert ask(tmp_path, "select usage, usage_total from traffic_bytes") == [(20, 60)]
    manifest = world.stored.manifest(2)
    assert (manifest["totals"]["events"], manifest["parquet"]["totals"]["events"]) == (2, 1)


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign"])
def test_damage_of_parquet_is_found_and_repaired(world: World, damage: str) -> None:
    self_contained(world)
    world.deliver(s3_formats=BOTH)
    stored = world.stored
    (key,) = [key for key in stored.objects() if key.endswith(".parquet")]
    before = stored.body(key)
    place = {"Bucket": stored.bucket, "Key": key}
    if damage == "missing":
        stored.s3.delete_object(**place)
    elif damage == "truncated":
        stored.s3.put_object(**place, Body=before[:-1])
    else:
        place["Key"] = key.replace(".parquet", ".stray.parquet")
        stored.s3.put_object(**place, Body=before)
    status, details = world.checked()[f"sealed_stored {HOUR}"]
    assert status == "different"
    assert place["Key"] in details[0]
    reconcile_hours(world.engine, HOURS, now=AFTER_GRACE)
    assert stored.body(key) == before
    assert (world.checked() == CLEAN) == (damage != "foreign")


def test_an_hour_without_events_has_no_parquet(world: World) -> None:
    world.rows.source("jp-1")
    world.rows.source_hour("jp-1")
    world.deliver(s3_formats=BOTH)
    assert [key.rsplit("/", 1)[1] for key in world.stored.objects()] == ["_manifest-1.json"]
    assert "parquet" not in world.stored.manifest(1)


# --- a second meter --------------------------------------------------------------------------


@pytest.fixture
def two_meters(world: World) -> World:
    """An hour of bytes and of requests."""
    series = self_contained(world)
    rows = world.rows
    rows.all(
        "insert into billing_core.meters values"
        " (2, 'requests', 'request', 'account', 'requests_charge') returning 1"
    )
    requests = rows.one(
        "insert into billing_core.series (node_key, account_key, inbound_tag, meter_id)"
        " select node_key, account_key, inbound_tag, 2 from billing_core.series"
        " where series_id = %s returning series_id",
        series,
    )
    rows.all(
        "insert into billing_core.facts (series_id, minute, uplink_quantity, downlink_quantity,"
        " revision, sealing) values (%s, %s, 7, 0, 1, 1) returning 1",
        requests,
        HOUR.first_minute,
    )
    return world


def test_every_meter_has_events_and_manifests_of_its_own(two_meters: World) -> None:
    two_meters.deliver(s3_formats=BOTH)
    stored = two_meters.stored
    events = {event["event_type"]: event["properties"] for event in stored.events()}
    assert (events["requests"]["usage"], events["traffic_bytes"]["usage"]) == (7, 40)
    assert "uplink_bytes" not in events["requests"]
    manifests = {
        key: json.loads(stored.body(key)) for key in stored.objects() if "/12/_manifest" in key
    }
    assert {each["event_type"]: each["totals"]["usage"] for each in manifests.values()} == {
        "requests": 7,
        "traffic_bytes": 40,
    }
    assert len([key for key in stored.objects() if "/parquet/requests/" in key]) == 1
    assert two_meters.checked() == CLEAN


def test_one_meter_may_be_left_out_and_catch_up(two_meters: World) -> None:
    stored = two_meters.stored
    two_meters.deliver(event_types=frozenset({"requests"}))
    assert {event["event_type"] for event in stored.events()} == {"requests"}
    before = stored.objects()
    pending = two_meters.rows.all(
        "select event_type, pending from billing.deliveries where hour = %s order by 1", HOUR.start
    )
    assert pending == [("requests", 0), ("traffic_bytes", 1)]
    two_meters.deliver()
    assert {event["event_type"] for event in stored.events()} == {"requests", "traffic_bytes"}
    assert set(before) <= set(stored.objects())
    assert two_meters.checked() == CLEAN


def test_envelopes_carry_the_unit_of_the_meter(two_meters: World) -> None:
    two_meters.deliver(envelope="usage_event")
    units = {
        event["event_type"]: event["resource_unit_type"] for event in two_meters.stored.events()
    }
    assert units == {"requests": "request", "traffic_bytes": "byte"}
