"""Sealing and sending on real PostgreSQL and a real S3 server (delivery contract)."""

import base64
import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from answer_losing_proxy import AnswerLosingProxy
from billing_rows import ACCOUNT, HOUR, OTHER_ACCOUNT, Rows

from billing_etl.batches import compress, decompress
from billing_etl.delivery import ObjectStore
from billing_etl.errors import MismatchError, RetryableError, TerminalError
from billing_etl.hours import HourRange
from billing_etl.pipeline.deliver import DeliverResult, deliver_hours, pending_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.settings import EVENT_TYPES, Settings, Source
from billing_etl.store import deliveries

HOURS = HourRange.single(HOUR)
DIRECTORY = "billing/traffic_bytes/2026/04/08/12/"
IN_GRACE = HOUR.end + timedelta(minutes=10)
AFTER_GRACE = HOUR.end + timedelta(hours=1)

Put = Callable[..., str]


def deliver(engine: Engine, hours: HourRange = HOURS) -> DeliverResult:
    (result,) = deliver_hours(engine, hours, now=AFTER_GRACE)
    return result


class Stored:
    """What the bucket holds, read with a client of its own."""

    def __init__(self, s3: Any, bucket: str) -> None:
        self.s3, self.bucket = s3, bucket

    def listing(self) -> dict[str, tuple[int, str, Any]]:
        answer = self.s3.list_objects_v2(Bucket=self.bucket)
        return {
            entry["Key"]: (entry["Size"], entry["ETag"], entry["LastModified"])
            for entry in answer.get("Contents", ())
        }

    def body(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body

    def batches(self) -> list[str]:
        return sorted(key for key in self.listing() if key.endswith(".jsonl"))

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for key in self.batches() for line in self.body(key).splitlines()]

    def manifest(self, number: int) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body(f"{DIRECTORY}_manifest-{number}.json"))
        return document

    def usage(self) -> dict[str, int]:
        """What a consumer has who keeps each id once and sums usage, per account."""
        by_id = {event["id"]: event["properties"] for event in self.events()}
        sums: dict[str, int] = {}
        for properties in by_id.values():
            account = properties["resource_id"]
            sums[account] = sums.get(account, 0) + properties["usage"]
        return sums


@pytest.fixture
def stored(s3: Any, bucket: str) -> Stored:
    return Stored(s3, bucket)


@pytest.fixture
def series(rows: Rows) -> int:
    """One account on one inbound of a source whose hour is complete."""
    rows.source("jp-1", region="tokyo")
    rows.source_hour("jp-1")
    return rows.series("jp-1")


# --- a first sealing -------------------------------------------------------------------------


def test_an_hour_is_delivered_as_one_batch_and_its_manifest(
    engine: Engine, rows: Rows, series: int, stored: Stored
) -> None:
    rows.fact(series, 0, 10, 30)
    rows.fact(series, 2, 30, 70)
    result = deliver(engine)
    (key,) = stored.batches()
    body = stored.body(key)
    assert result == DeliverResult(
        HOUR, "traffic_bytes", "sealed", batches=1, events=2, bytes=len(body)
    )
    first, second = stored.events()
    assert first["timestamp"] == "2026-04-08T12:00:00Z"
    assert second["properties"] | {"revision": 1} == {
        "usage": 100, "region": "tokyo", "resource_type": "account", "resource_id": ACCOUNT,
        "uplink_bytes": 30, "downlink_bytes": 70, "node_id": "node-1", "env": "prod",
        "inbound_tag": "tcp", "source_id": "jp-1", "revision": 1,
    }  # fmt: skip
    manifest = stored.manifest(1)
    assert manifest["open_sources"] == []
    assert manifest["totals"] == {"batches": 1, "events": 2, "usage": 140, "bytes": len(body)}
    assert manifest["batches"][0]["key"] == key
    assert manifest["batches"][0]["sha256"] == hashlib.sha256(body).hexdigest()


def test_objects_carry_a_sha256_the_server_verified_and_their_content_type(
    engine: Engine, rows: Rows, series: int, stored: Stored
) -> None:
    rows.fact(series, 0, 10, 30)
    deliver(engine)
    types = {}
    for key in stored.listing():
        head = stored.s3.head_object(Bucket=stored.bucket, Key=key, ChecksumMode="ENABLED")
        digest = hashlib.sha256(stored.body(key)).digest()
        assert head["ChecksumSHA256"] == base64.b64encode(digest).decode()
        types[key.rsplit(".", 1)[1]] = head["ContentType"]
    assert types == {"jsonl": "application/x-ndjson", "json": "application/json"}


def test_the_etag_that_the_store_answered_is_kept(
    engine: Engine, rows: Rows, series: int, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the object lay there already: then it is the one that the look at it gave."""
    rows.fact(series, 0, 10, 30)
    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "put", put_that(after=Crash()))
        with pytest.raises(Crash):
            deliver(engine)
    assert rows.all("select etag from billing_core.batches") == [(None,), (None,)]
    deliver(engine)
    kept = dict(rows.all("select object_key, etag from billing_core.batches"))
    assert kept == {key: etag.strip('"') for key, (_, etag, _) in stored.listing().items()}


def test_events_are_ordered_by_account_minute_and_series_and_cut_by_count(
    engine: Engine, rows: Rows, series: int, stored: Stored
) -> None:
    other = rows.series("jp-1", OTHER_ACCOUNT)
    second_inbound = rows.series("jp-1", ACCOUNT, "udp")
    for which, minute in [(other, 0), (series, 5), (second_inbound, 1), (series, 1)]:
        rows.fact(which, minute, 1, 0)
    deliver(Engine(replace(engine.settings, s3_max_events=3)))
    assert len(stored.batches()) == 2
    seen = [
        (event["properties"]["resource_id"], event["timestamp"][14:16],
         event["properties"]["inbound_tag"])
        for event in stored.events()
    ]  # fmt: skip
    assert seen == [
        (ACCOUNT, "01", "tcp"),
        (ACCOUNT, "01", "udp"),
        (ACCOUNT, "05", "tcp"),
        (OTHER_ACCOUNT, "00", "tcp"),
    ]


def test_an_event_larger_than_the_limit_travels_alone(
    engine: Engine, rows: Rows, series: int, stored: Stored
) -> None:
    long_tag = rows.series("jp-1", ACCOUNT, "t" * 255)
    for which, minute in [(series, 0), (long_tag, 1), (series, 2)]:
        rows.fact(which, minute, 1, 0)
    deliver(Engine(replace(engine.settings, s3_max_bytes=600)))
    sizes = [stored.listing()[key][0] for key in stored.batches()]
    assert [size > 600 for size in sizes] == [False, True, False]


def test_an_hour_of_many_batches_is_whole(
    engine: Engine, rows: Rows, series: int, stored: Stored
) -> None:
    for minute in range(60):
        rows.fact(series, minute, minute, 1)
    result = deliver(Engine(replace(engine.settings, s3_max_events=2)))
    assert (result.batches, result.events) == (30, 60)
    assert stored.usage() == {ACCOUNT: sum(range(60)) + 60}
    assert stored.manifest(1)["totals"]["batches"] == 30


def test_an_hour_without_facts_is_one_manifest_of_zero_batches(
    engine: Engine, series: int, stored: Stored
) -> None:
    assert deliver(engine).outcome == "sealed"
    assert list(stored.listing()) == [f"{DIRECTORY}_manifest-1.json"]
    assert stored.manifest(1)["totals"]["events"] == 0


def test_region_is_that_of_the_source_at_the_minute(
    engine: Engine, rows: Rows, series: int, stored: Stored
) -> None:
    rows.source("de-1")
    rows.source_hour("de-1")
    without_region = rows.series("de-1", node_id="node-2")
    rows.all(
        "insert into billing_core.source_regions select source_key, %s, 'osaka'"
        " from billing_core.sources where source_id = 'jp-1' returning 1",
        HOUR.first_minute + 30,
    )
    for which, minute in [(series, 29), (series, 30), (without_region, 31)]:
        rows.fact(which, minute, 1, 0)
    deliver(engine)
    regions = [event["properties"]["region"] for event in stored.events()]
    assert regions == ["tokyo", "osaka", "nowhere"]


# --- again -----------------------------------------------------------------------------------


def test_running_again_changes_no_row_and_sends_no_byte(
    engine: Engine, rows: Rows, series: int, stored: Stored
) -> None:
    rows.fact(series, 0, 10, 30)
    deliver(engine)

    def state() -> tuple[Any, ...]:
        tables = ("facts", "deliveries", "batches", "sealed_facts")
        return stored.listing(), [
            rows.all(f"select xmin::text, t::text from billing_core.{table} t order by 2")
            for table in tables
        ]

    before = state()
    assert deliver(engine) == DeliverResult(HOUR, "traffic_bytes", "nothing_new")
    assert state() == before


def test_two_runs_at_once_seal_and_store_once(
    engine: Engine, rows: Rows, series: int, stored: Stored
) -> None:
    rows.fact(series, 0, 10, 30)
    with ThreadPoolExecutor(2) as pool:
        outcomes = [result.outcome for result in pool.map(deliver, [engine, engine])]
    assert outcomes.count("sealed") == 1
    assert rows.one("select max(sealings) from billing_core.deliveries") == 1
    assert len(stored.listing()) == 2
    assert stored.usage() == {ACCOUNT: 40}


def test_sealing_waits_for_a_collection_that_is_writing_the_hour(
    engine: Engine, rows: Rows, series: int, stored: Stored
) -> None:
    rows.fact(series, 0, 10, 30)
    with ThreadPoolExecutor(1) as pool:
        with rows.connection.transaction():
            rows.fact(series, 0, 10, 31)  # holds the hour's delivery row until it commits
            run = pool.submit(deliver, engine)
            while not rows.one("select count(*) from pg_locks where not granted"):
                assert not run.done(), run.result()
            rows.fact(series, 1, 1, 1)
        assert run.result(timeout=30).events == 2
    assert stored.usage() == {ACCOUNT: 43}


# --- when ------------------------------------------------------------------------------------


@pytest.fixture
def two_sources(engine: Engine, rows: Rows, series: int) -> Engine:
    rows.fact(series, 0, 10, 30)
    late = Source("de-1", "http://127.0.0.1:9", token="unused")
    return Engine(replace(engine.settings, sources=(*engine.settings.sources, late)))


@pytest.mark.parametrize(
    ("state", "outcome"), [("partial", "open"), ("complete", "sealed"), ("lost", "sealed")]
)
def test_an_hour_waits_within_the_grace_for_sources_that_are_partial(
    two_sources: Engine, rows: Rows, stored: Stored, state: str, outcome: str
) -> None:
    rows.source("de-1")
    rows.source_hour("de-1", state=state)
    (result,) = deliver_hours(two_sources, HOURS, now=IN_GRACE)
    assert result.outcome == outcome
    assert result.pending == (1 if outcome == "open" else 0)
    assert bool(stored.listing()) == (outcome == "sealed")


def test_an_hour_waits_for_a_source_that_was_never_collected(two_sources: Engine) -> None:
    (result,) = deliver_hours(two_sources, HOURS, now=IN_GRACE)
    assert result.reason == "open until 2026-04-08T14:00:00Z: de-1"


def test_a_source_that_began_later_has_no_part_in_the_hour(two_sources: Engine, rows: Rows) -> None:
    rows.source("de-1", first_hour=HOUR.next)
    (result,) = deliver_hours(two_sources, HOURS, now=IN_GRACE)
    assert result.outcome == "sealed"


def test_a_disabled_source_is_not_waited_for(two_sources: Engine) -> None:
    first, second = two_sources.settings.sources
    sources = (first, replace(second, enabled=False))
    engine = Engine(replace(two_sources.settings, sources=sources))
    (result,) = deliver_hours(engine, HOURS, now=IN_GRACE)
    assert result.outcome == "sealed"


def test_the_manifest_names_sources_still_open_until_they_are_not(
    two_sources: Engine, rows: Rows, stored: Stored
) -> None:
    rows.source("de-1")
    deliver(two_sources)
    assert stored.manifest(1)["open_sources"] == ["de-1"]
    assert deliver(two_sources).outcome == "nothing_new"
    rows.source_hour("de-1", state="lost")
    assert deliver(two_sources).outcome == "sealed"
    assert stored.manifest(2)["open_sources"] == []
    assert deliver(two_sources).outcome == "nothing_new"


def test_an_hour_that_nobody_collected_or_that_has_not_ended_is_not_sealed(
    engine: Engine, rows: Rows, series: int, stored: Stored
) -> None:
    (uncollected,) = deliver_hours(engine, HourRange.single(HOUR.previous), now=AFTER_GRACE)
    (running,) = deliver_hours(engine, HOURS, now=HOUR.start + timedelta(minutes=59))
    assert uncollected.reason == "no source has collected the hour"
    assert running.reason == "the hour has not ended"
    assert stored.listing() == {}


# --- corrections -----------------------------------------------------------------------------


def corrected(rows: Rows, engine: Engine, series: int, *steps: tuple[int, int] | None) -> None:
    for quantities in steps:
        rows.set_fact(series, HOUR, HOUR.first_minute, quantities)
        deliver(engine)


@pytest.mark.parametrize(
    ("steps", "usages"),
    [
        pytest.param([(10, 30), (15, 45)], [40, 20], id="up"),
        pytest.param([(10, 30), (4, 30)], [40, -6], id="down"),
        pytest.param([(10, 30), (30, 10)], [40, 0], id="parts swapped"),
        pytest.param([(10, 30), None], [40, -40], id="to zero"),
        pytest.param([(10, 30), None, (7, 0)], [40, -40, 7], id="to zero and back"),
        pytest.param([(10, 30), None, None, (10, 30)], [40, -40, 40], id="as it was"),
        pytest.param([(10, 30), (4, 4), (10, 30)], [40, -32, 32], id="there and back"),
    ],
)
def test_a_changed_fact_goes_out_as_signed_differences(
    engine: Engine, rows: Rows, series: int, stored: Stored,
    steps: list[tuple[int, int] | None], usages: list[int],
) -> None:  # fmt: skip
    corrected(rows, engine, series, *steps)
    events = [event["properties"] | {"id": event["id"]} for event in stored.events()]
    assert [event["usage"] for event in events] == usages
    assert [event["revision"] for event in events] == list(range(1, len(usages) + 1))
    assert [event["corrects"] for event in events[1:]] == [event["id"] for event in events[:-1]]
    assert events[-1]["usage_total"] == sum(usages) == sum(steps[-1] or (0,))
    assert len({event["id"] for event in events}) == len(events)


def test_a_change_that_was_taken_back_before_the_next_sealing_makes_no_event(
    engine: Engine, rows: Rows, series: int, stored: Stored
) -> None:
    rows.fact(series, 0, 10, 30)
    deliver(engine)
    before = stored.listing()
    rows.fact(series, 0, 11, 30)
    rows.fact(series, 0, 10, 30)
    assert deliver(engine).outcome == "nothing_new"
    assert stored.listing() == before


def test_a_delivered_object_is_never_rewritten(
    engine: Engine, rows: Rows, series: int, stored: Stored
) -> None:
    rows.fact(series, 0, 10, 30)
    deliver(engine)
    first = stored.listing()
    rows.fact(series, 0, 15, 45)
    rows.fact(series, 9, 1, 1)
    deliver(engine)
    assert first.items() <= stored.listing().items()
    assert stored.usage() == {ACCOUNT: 62}
    assert stored.manifest(2)["totals"] | {"bytes": 0} == {
        "batches": 2, "events": 3, "usage": 62, "bytes": 0,
    }  # fmt: skip


def test_corrected_facts_leave_the_memory_of_sealed_states(
    engine: Engine, rows: Rows, series: int
) -> None:
    rows.fact(series, 0, 10, 30)
    rows.fact(series, 1, 10, 30)
    deliver(engine)
    rows.fact(series, 0, 1, 1)
    rows.no_fact(series, 1)
    deliver(engine)
    kept = rows.all("select minute, revision, uplink_quantity from billing_core.sealed_facts")
    assert kept == [(HOUR.first_minute + 1, 2, 0)]  # vanished: its revisions must not restart


# --- trouble ---------------------------------------------------------------------------------


class Crash(Exception):
    """Not an error of the project: as if the process had ended there."""


def put_that(before: Exception | None = None, after: Exception | None = None) -> Put:
    put = ObjectStore.put

    def wrapped(store: ObjectStore, *arguments: Any) -> str:
        if before is not None:
            raise before
        etag = put(store, *arguments)
        if after is not None:
            raise after
        return etag

    return wrapped


@pytest.mark.parametrize(
    "put", [put_that(before=Crash()), put_that(after=Crash())], ids=["before", "after"]
)
def test_a_crash_around_the_put_is_healed_by_the_next_run(
    engine: Engine, rows: Rows, series: int, stored: Stored,
    monkeypatch: pytest.MonkeyPatch, put: Put,
) -> None:  # fmt: skip
    rows.fact(series, 0, 10, 30)
    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "put", put)
        with pytest.raises(Crash):
            deliver(engine)
    sealed = rows.all("select object_key, sha256 from billing_core.batches order by 1")
    assert pending_hours(engine, HOUR.next) == [HOUR]
    result = deliver(engine)
    assert (result.outcome, result.events) == ("sent", 1)
    assert sealed == rows.all("select object_key, sha256 from billing_core.batches order by 1")
    assert sorted(stored.listing()) == [key for key, _ in sealed]
    assert stored.usage() == {ACCOUNT: 40}
    assert pending_hours(engine, HOUR.next) == []


def test_a_lost_answer_makes_no_second_object(
    engine: Engine, rows: Rows, series: int, stored: Stored
) -> None:
    rows.fact(series, 0, 10, 30)
    server = urlsplit(str(engine.settings.s3_endpoint_url))
    with AnswerLosingProxy((str(server.hostname), server.port or 80)) as proxy:
        result = deliver(Engine(replace(engine.settings, s3_endpoint_url=proxy.url)))
    assert proxy.lost == ["PUT"]
    assert (result.outcome, result.batches) == ("sealed", 1)
    assert len(stored.listing()) == 2
    assert stored.usage() == {ACCOUNT: 40}


def test_a_manifest_never_goes_before_its_batches(
    engine: Engine, rows: Rows, series: int, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minute in range(4):
        rows.fact(series, minute, 1, 0)
    put = ObjectStore.put

    def fail_one(store: ObjectStore, bucket: str, key: str, *arguments: Any) -> str:
        if "-00003-" in key:
            raise RetryableError("no answer")
        return put(store, bucket, key, *arguments)

    small = Engine(replace(engine.settings, s3_max_events=1))
    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "put", fail_one)
        with pytest.raises(RetryableError, match="no answer"):
            deliver(small)
    before = stored.batches()  # what was under way already
    assert list(stored.listing()) == before
    assert len(before) <= 3
    failed = rows.all(
        "select ordinal, attempts, last_error from billing_core.batches"
        " where last_error is not null"
    )
    assert failed == [(3, 1, "no answer")]
    assert deliver(small).batches == 4 - len(before)
    assert len(stored.listing()) == 5


def test_other_content_under_the_key_is_named_and_left_alone(
    engine: Engine, rows: Rows, series: int, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.fact(series, 0, 10, 30)
    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "put", put_that(before=Crash()))
        with pytest.raises(Crash):
            deliver(engine)
    key = rows.one("select object_key from billing_core.batches where kind = 'events'")
    stored.s3.put_object(Bucket=stored.bucket, Key=key, Body=b"not ours\n")
    expected = hashlib.sha256(b"not ours\n").hexdigest()
    with pytest.raises(MismatchError, match=f"{key}: expected .* got 9 bytes .* {expected}"):
        deliver(engine)
    assert stored.body(key) == b"not ours\n"
    assert list(stored.listing()) == [key]  # and no manifest that would call it whole


def test_a_mismatch_in_one_hour_does_not_hold_back_the_next(
    engine: Engine, rows: Rows, series: int, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.source_hour("jp-1", HOUR.next)
    stored.s3.put_object(
        Bucket=stored.bucket, Key=f"{DIRECTORY}_manifest-1.json", Body=b"not ours\n"
    )
    both = HourRange(HOUR, HOUR.next.next)
    with pytest.raises(MismatchError, match="_manifest-1"):
        deliver_hours(engine, both, now=AFTER_GRACE + timedelta(hours=1))
    assert "billing/traffic_bytes/2026/04/08/13/_manifest-1.json" in stored.listing()


@pytest.mark.parametrize(
    ("changes", "secret", "message"),
    [
        pytest.param(
            {"s3_bucket": "no-such-bucket"}, None,
            "s3://no-such-bucket: expected an existing bucket, got 404", id="missing bucket",
        ),
        pytest.param({}, "wrong", "expected access, got 403", id="wrong key"),
        pytest.param({}, "", "no usable credentials in the AWS chain", id="no credentials"),
        pytest.param(
            {"s3_endpoint_url": "http://127.0.0.1:1"}, None, "got no answer", id="nobody there"
        ),
    ],
)  # fmt: skip
def test_a_store_that_cannot_be_used_fails_before_anything_is_sealed(
    engine: Engine, rows: Rows, series: int, stored: Stored, monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str], secret: str | None, message: str,
) -> None:  # fmt: skip
    rows.fact(series, 0, 10, 30)
    settings = replace(engine.settings, **changes)  # type: ignore[arg-type]
    if secret is not None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    if secret == "":
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises((TerminalError, RetryableError), match=message):
        deliver(Engine(settings))
    assert rows.all("select 1 from billing_core.batches") == []
    assert rows.one("select max(sealings) from billing_core.deliveries") == 0
    assert stored.listing() == {}
    status, error = rows.all("select status, error from billing_core.runs where command='export'")[
        0
    ]
    assert status == "failed"
    assert message in error


@pytest.mark.parametrize("kind", ["events", "manifest"])
@pytest.mark.parametrize("damage", ["cut off", "another one"])
def test_a_payload_that_was_damaged_after_it_was_sealed_is_not_sent(
    engine: Engine, rows: Rows, series: int, stored: Stored, monkeypatch: pytest.MonkeyPatch,
    damage: str, kind: str,
) -> None:  # fmt: skip
    rows.fact(series, 0, 10, 30)
    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "put", put_that(before=Crash()))
        with pytest.raises(Crash):
            deliver(engine)
    key, payload = rows.all(
        "select object_key, payload from billing_core.batches where kind = %s", kind
    )[0]
    damaged = payload[:-9] if damage == "cut off" else compress(decompress(payload)[:-1] + b" ")
    rows.all(
        "update billing_core.batches set payload = %s where kind = %s returning 1", damaged, kind
    )
    with pytest.raises(MismatchError, match=f"{key}: .*payload"):
        deliver(engine)
    assert key not in stored.listing()


def test_sealed_batches_go_to_the_bucket_they_were_sealed_for(
    engine: Engine, rows: Rows, series: int, stored: Stored, other_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    rows.fact(series, 0, 10, 30)
    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "put", put_that(before=Crash()))
        with pytest.raises(Crash):
            deliver(engine)
    rows.fact(series, 1, 1, 1)
    deliver(Engine(replace(engine.settings, s3_bucket=other_bucket)))
    other = Stored(stored.s3, other_bucket)
    assert stored.usage() == {ACCOUNT: 40}
    assert other.usage() == {ACCOUNT: 2}
    assert [entry["bucket"] for entry in other.manifest(2)["batches"]] == [
        stored.bucket,
        other_bucket,
    ]


# --- switches --------------------------------------------------------------------------------


def test_with_s3_off_nothing_is_sealed_or_asked_and_sealing_catches_up(
    engine: Engine, engine_without_s3: Engine, rows: Rows, series: int, stored: Stored
) -> None:
    rows.fact(series, 0, 10, 30)
    # An address where nobody listens: any request would fail.
    off = Engine(replace(engine_without_s3.settings, s3_endpoint_url="http://127.0.0.1:1"))
    assert deliver(off) == DeliverResult(
        HOUR, "traffic_bytes", "off", "BILLING_S3_ENABLED is off", pending=1
    )
    assert pending_hours(off, HOUR.next) == []
    assert deliver(engine).outcome == "sealed"
    assert stored.usage() == {ACCOUNT: 40}


def test_an_event_type_that_is_not_exported_is_counted_and_can_catch_up(
    engine: Engine, rows: Rows, series: int, stored: Stored
) -> None:
    rows.fact(series, 0, 10, 30)
    none = Engine(replace(engine.settings, event_types=frozenset()))
    assert deliver(none) == DeliverResult(
        HOUR, "traffic_bytes", "off", "traffic_bytes is not in BILLING_EVENT_TYPES", pending=1
    )
    assert pending_hours(none, HOUR.next) == []
    assert stored.listing() == {}
    some = Engine(replace(engine.settings, event_types=frozenset({"traffic_bytes"})))
    assert pending_hours(some, HOUR.next) == [HOUR]
    assert deliver(some).outcome == "sealed"


def test_the_event_types_that_settings_know_are_those_that_are_metered(engine: Engine) -> None:
    with engine.connect() as connection:
        assert {meter.event_type for meter in deliveries.meters(connection)} == set(EVENT_TYPES)


# --- what is pending -------------------------------------------------------------------------


def test_hours_with_something_to_seal_are_pending(engine: Engine, rows: Rows, series: int) -> None:
    def pending() -> list[str]:
        return [str(hour) for hour in pending_hours(engine, HOUR.next)]

    assert pending() == ["2026-04-08T12"]  # collected, never sealed
    rows.fact(series, 0, 10, 30)
    assert pending() == ["2026-04-08T12"]
    deliver(engine)
    assert pending() == []
    rows.fact(series, 0, 11, 30)
    assert pending() == ["2026-04-08T12"]
    deliver(engine)
    rows.no_fact(series, 0)
    assert pending() == ["2026-04-08T12"]
    deliver(engine)
    assert pending() == []
    rows.fact(series, 1, 1, 1)  # a late fact where none was
    assert pending() == ["2026-04-08T12"]
    assert pending_hours(engine, HOUR) == []


def test_an_hour_whose_open_source_closed_is_pending(
    two_sources: Engine, rows: Rows, settings: Settings
) -> None:
    rows.source("de-1")
    deliver(two_sources)
    assert pending_hours(two_sources, HOUR.next) == []
    rows.source_hour("de-1")
    assert pending_hours(two_sources, HOUR.next) == [HOUR]
