"""Cutting, keys, digests and manifests (delivery contract, path and limits)."""

import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from billing_rows import HOUR
from msgspec import structs

from billing_etl.batches import (
    Batch,
    Event,
    LineCutter,
    Manifest,
    ManifestEntry,
    ObjectKeys,
    compress,
    decompress,
    digest_of_ids,
    manifest,
)
from billing_etl.errors import MismatchError, UsageError
from billing_etl.events.envelope import HOURLY_PATH
from billing_etl.events.usage_event import TENANT_PATH

TEN_BYTES = b"123456789\n"


def events(*lines: bytes) -> list[tuple[Event, bytes]]:
    return [
        (Event(f"id-{number}", number, HOUR.first_minute + 59 - number), line)
        for number, line in enumerate(lines, start=1)
    ]


def cut(events: list[tuple[Event, bytes]], max_events: int, max_bytes: int) -> list[Batch]:
    cutter = LineCutter(max_events, max_bytes)
    batches = [cutter.add(event, line) for event, line in events]
    return [batch for batch in (*batches, cutter.finish()) if batch is not None]


@pytest.mark.parametrize(
    ("lines", "max_events", "max_bytes", "sizes"),
    [
        pytest.param([], 50, 100, [], id="nothing"),
        pytest.param([TEN_BYTES] * 5, 2, 100, [20, 20, 10], id="by events"),
        pytest.param([TEN_BYTES] * 5, 50, 30, [30, 20], id="by bytes, limit included"),
        pytest.param([TEN_BYTES] * 7, 50, 30, [30, 30, 10], id="by bytes, several times"),
        pytest.param([TEN_BYTES] * 3, 50, 29, [20, 10], id="by bytes, one byte short"),
        pytest.param(
            [TEN_BYTES, b"x" * 99 + b"\n", TEN_BYTES], 50, 30, [10, 100, 10], id="oversized alone"
        ),
        pytest.param([b"x" * 99 + b"\n"], 50, 30, [100], id="oversized first"),
    ],
)
def test_cut(lines: list[bytes], max_events: int, max_bytes: int, sizes: list[int]) -> None:
    batches = cut(events(*lines), max_events, max_bytes)
    assert [len(batch.payload) for batch in batches] == sizes
    assert b"".join(batch.payload for batch in batches) == b"".join(lines)


LIMIT = 2**63 - 1


@pytest.mark.parametrize(
    ("usages", "batches"),
    [
        pytest.param([LIMIT], [[LIMIT]], id="one event always fits"),
        pytest.param([-LIMIT], [[-LIMIT]], id="also a correction"),
        pytest.param([LIMIT - 1, 1], [[LIMIT - 1, 1]], id="limit included"),
        pytest.param([LIMIT, 1], [[LIMIT], [1]], id="one beyond"),
        pytest.param([0, LIMIT, 0, 1], [[0, LIMIT, 0], [1]], id="nothing adds nothing"),
        pytest.param([LIMIT, LIMIT, LIMIT], [[LIMIT]] * 3, id="every one alone"),
        pytest.param([-LIMIT, -1], [[-LIMIT], [-1]], id="below"),
        pytest.param([LIMIT, -1, -LIMIT], [[LIMIT], [-1], [-LIMIT]], id="in any order"),
        pytest.param([LIMIT, 2, LIMIT - 2, 5], [[LIMIT], [2, LIMIT - 2], [5]], id="counts anew"),
    ],
)
def test_no_sum_of_a_batch_leaves_64_bits(usages: list[int], batches: list[list[int]]) -> None:
    lines = [(Event("id", usage, HOUR.first_minute), f"{usage}\n".encode()) for usage in usages]
    cut_up = cut(lines, 50, 500)

    found = [(batch.payload.decode().split(), batch.usage) for batch in cut_up]
    assert found == [(list(map(str, batch)), sum(batch)) for batch in batches]


def test_a_batch_knows_its_events() -> None:
    (batch,) = cut(events(TEN_BYTES, TEN_BYTES), 50, 100)
    assert (batch.events, batch.usage) == (2, 3)
    assert batch.first_minute == HOUR.first_minute + 57
    assert batch.event_ids_sha256 == hashlib.sha256(b"id-1\nid-2\n").digest()
    assert batch.sha256 == hashlib.sha256(TEN_BYTES * 2).digest()


def test_the_first_minute_is_that_of_the_oldest_event_wherever_it_stands() -> None:
    lines = [(Event("id", 1, HOUR.first_minute + minute), TEN_BYTES) for minute in (5, 3, 4)]
    (batch,) = cut(lines, 50, 500)
    assert batch.first_minute == HOUR.first_minute + 3


def test_events_of_two_tenants_share_no_batch() -> None:
    tenants = ["a", "a", "b", "", "a"]
    lines = [(Event("id", 1, HOUR.first_minute, tenant), TEN_BYTES) for tenant in tenants]
    found = [(batch.tenant, batch.events) for batch in cut(lines, 50, 500)]
    assert found == [("a", 2), ("b", 1), ("", 1), ("a", 1)]


def test_a_cutter_that_is_finished_begins_anew() -> None:
    cutter = LineCutter(50, 500)
    assert cutter.finish() is None
    cutter.add(Event("id-1", 5, HOUR.first_minute, "a"), TEN_BYTES)
    assert cutter.finish() == Batch(
        TEN_BYTES, 1, 5, HOUR.first_minute, digest_of_ids(["id-1"]), "a"
    )
    assert cutter.finish() is None
    assert cutter.add(Event("id-2", -7, HOUR.first_minute + 1), b"x\n") is None
    assert cutter.finish() == Batch(b"x\n", 1, -7, HOUR.first_minute + 1, digest_of_ids(["id-2"]))


BATCH = Batch(TEN_BYTES, 1, 1, HOUR.first_minute + 7, digest_of_ids(["id-1"]))


def test_keys_are_hourly_partitions_by_event_time() -> None:
    digest = hashlib.sha256(TEN_BYTES).hexdigest()[:12]
    keys = ObjectKeys("/billing/", HOURLY_PATH)
    assert keys.batch("traffic_bytes", HOUR, 2, 13, BATCH) == (
        f"billing/traffic_bytes/2026/04/08/12/002-00013-{digest}.jsonl"
    )
    assert keys.manifest("traffic_bytes", HOUR, 2) == (
        "billing/traffic_bytes/2026/04/08/12/_manifest-2.json"
    )


def test_keys_without_a_prefix_start_at_the_event_type() -> None:
    assert (
        ObjectKeys("", HOURLY_PATH).directory("traffic_bytes", HOUR)
        == "traffic_bytes/2026/04/08/12/"
    )


def test_the_original_contract_is_a_template() -> None:
    keys = ObjectKeys("", "{event_type}/{year}/{month}/{day}/{hour}/{minute}/{uuid}.jsonl")
    key = keys.batch("traffic_bytes", HOUR, 1, 1, BATCH)
    assert key.startswith("traffic_bytes/2026/04/08/12/07/")
    assert len(key.rsplit("/", 1)[1]) == len("00000000-0000-0000-0000-000000000000.jsonl")
    assert key == keys.batch("traffic_bytes", HOUR, 1, 1, BATCH)
    assert key != keys.batch("traffic_bytes", HOUR, 1, 2, BATCH)
    assert keys.manifest("traffic_bytes", HOUR, 1) == (
        "traffic_bytes/2026/04/08/12/_manifest-1.json"
    )


MIXED = "is in no directory, so hours or event types would be mixed"


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{event_type}/{year}/{month}/{day}/{hour}/events.jsonl", "batches would share an object"),
        ("{event_type}/{year}/{month}/{day}/{batch}.jsonl", "{hour} " + MIXED),
        ("{event_type}/{year}/{month}/{day}/{batch}/{hour}.jsonl", "{hour} " + MIXED),
        ("{event_type}/{year}/{month}/{day}/{hour}-{batch}.jsonl", "{hour} " + MIXED),
        ("{event_type}/{year}/{hour}/{batch}.jsonl", "{day} " + MIXED),
        ("{year}/{month}/{day}/{hour}/{batch}.jsonl", "{event_type} " + MIXED),
        ("{event_type}/{year}/{month}/{day}/{hour}/{node}/{batch}.jsonl", "{node} is no field"),
        ("{event_type}/{year}/{month}/{day}/{hour}/{zone}/{node}.jsonl", "{node} is no field"),
        ("{event_type}/{year}/{month}/{day}/{hour/{batch}.jsonl", "a brace encloses no field"),
        ("{event_type}/{year}/{month}/{day}/{hour}/{batch}}.jsonl", "a brace encloses no field"),
        ("{event_type}/{year}/{month}/{day}/{hour:02}/{batch}.jsonl", "a brace encloses no field"),
        ("{event_type}/{year}/{month}/{day}/{}/{batch}.jsonl", "a brace encloses no field"),
        ("{event_type}/{year}/{month}/{day}//{hour}/{batch}.jsonl", "a directory has no name"),
        ("/{event_type}/{year}/{month}/{day}/{hour}/{batch}.jsonl", "a directory has no name"),
        ("{event_type}/{year}/{month}/{day}/{hour}/{batch}/", "a directory has no name"),
        ("../{event_type}/{year}/{month}/{day}/{hour}/{batch}", "a directory has no name"),
        ("{event_type}/./{year}/{month}/{day}/{hour}/{batch}", "a directory has no name"),
        ("", "{day} " + MIXED),
    ],
)
def test_a_template_that_would_mix_hours_or_batches_is_refused(template: str, fault: str) -> None:
    with pytest.raises(UsageError) as caught:
        ObjectKeys("", template)

    assert str(caught.value) == (
        "BILLING_S3_PATH_TEMPLATE: expected a path such as "
        "{event_type}/{year}/{month}/{day}/{hour}/{batch}.jsonl, with event type, year, month, day "
        f"and hour as directories and {{batch}} or {{uuid}} after them, got {template}: {fault}"
    )


def test_a_template_may_use_every_field_and_text_between_them() -> None:
    directory = "{event_type}/{year}/{month}/{day}/{hour}"
    keys = ObjectKeys("", directory + "/{tenant}/{minute}/X-{hour}-{batch}-{uuid}.jsonl")
    batch = replace(BATCH, tenant="3f2b")
    assert keys.batch("traffic_bytes", HOUR, 1, 1, batch).startswith(
        "traffic_bytes/2026/04/08/12/3f2b/07/X-12-001-00001-"
    )
    assert keys.directory("traffic_bytes", HOUR) == "traffic_bytes/2026/04/08/12/"


def test_a_tenant_has_a_directory_below_that_of_the_hour() -> None:
    keys = ObjectKeys("billing", TENANT_PATH)
    batch = Batch(TEN_BYTES, 1, 1, HOUR.first_minute, digest_of_ids(["id-1"]), "3f2b")
    hour = "billing/traffic_bytes/date=2026-04-08/hour=12/"
    assert keys.directory("traffic_bytes", HOUR) == hour
    assert keys.batch("traffic_bytes", HOUR, 1, 2, batch).startswith(
        f"{hour}tenant_id=3f2b/001-00002-"
    )
    assert keys.manifest("traffic_bytes", HOUR, 1) == f"{hour}_manifest-1.json"
    assert keys.is_by_tenant
    assert not ObjectKeys("billing", HOURLY_PATH).is_by_tenant


@pytest.mark.parametrize("prefix", ["X/usage/X", "/X/usage/X/", "//X/usage/X//"])
def test_a_prefix_is_kept_but_for_slashes_around_it(prefix: str) -> None:
    keys = ObjectKeys(prefix, HOURLY_PATH)
    assert keys.directory("traffic_bytes", HOUR) == "X/usage/X/traffic_bytes/2026/04/08/12/"


def test_stored_payload_is_the_same_bytes_each_time() -> None:
    assert compress(TEN_BYTES) == compress(TEN_BYTES)
    assert decompress(compress(TEN_BYTES)) == TEN_BYTES


def test_payloads_that_an_earlier_version_stored_as_gzip_are_read() -> None:
    assert decompress(gzip.compress(TEN_BYTES)) == TEN_BYTES


@pytest.mark.parametrize("way", [compress, gzip.compress])
def test_a_damaged_payload_is_refused(way: Callable[[bytes], bytes]) -> None:
    compressed = way(TEN_BYTES)
    for damaged in (compressed[:-1], compressed[:-1] + b"\1", b"{}\n", b""):
        with pytest.raises(ValueError, match="expected zstd or gzip"):
            decompress(damaged)


def test_manifest_names_all_batches_totals_and_open_sources() -> None:
    entries = [
        ManifestEntry("b", "k1", sealing=1, events=2, usage=10, bytes=20, sha256="aa"),
        ManifestEntry("b", "k2", sealing=2, events=1, usage=-3, bytes=10, sha256="bb"),
    ]
    document = manifest("traffic_bytes", HOUR, 2, entries, ["jp-1"])
    assert json.loads(document) == {
        "event_type": "traffic_bytes",
        "hour": "2026-04-08T12:00:00Z",
        "sealing": 2,
        "open_sources": ["jp-1"],
        "totals": {"batches": 2, "events": 3, "usage": 7, "bytes": 30},
        "batches": [
            {
                "bucket": "b", "key": "k1", "sealing": 1, "events": 2, "usage": 10, "bytes": 20,
                "sha256": "aa",
            },
            {
                "bucket": "b", "key": "k2", "sealing": 2, "events": 1, "usage": -3, "bytes": 10,
                "sha256": "bb",
            },
        ],
    }  # fmt: skip
    assert document == manifest("traffic_bytes", HOUR, 2, entries, ["jp-1"])
    assert document == json.dumps(json.loads(document), indent=1).encode() + b"\n"


def test_a_manifest_names_parquet_files_beside_the_batches_and_does_not_add_them() -> None:
    lines = ManifestEntry("b", "k1", 1, events=2, usage=10, bytes=20, sha256="aa")
    other = ManifestEntry("b", "k2", 2, 1, -3, 10, "bb", envelope="usage_event")
    file = ManifestEntry("b", "k3", 2, 1, -3, 90, "cc", envelope="parquet")
    written = manifest("traffic_bytes", HOUR, 2, [lines, other], [], [file])
    document = json.loads(written)
    assert document["totals"] == {"batches": 2, "events": 3, "usage": 7, "bytes": 30}
    assert [entry.get("envelope") for entry in document["batches"]] == [None, "usage_event"]
    assert document["parquet"] == {
        "totals": {"batches": 1, "events": 1, "usage": -3, "bytes": 90},
        "batches": [
            {
                "bucket": "b", "key": "k3", "sealing": 2, "events": 1, "usage": -3, "bytes": 90,
                "sha256": "cc", "envelope": "parquet",
            }
        ],
    }  # fmt: skip
    read = Manifest.read(written)
    assert (list(read.batches), list(read.parquet_batches)) == ([lines, other], [file])


def test_a_manifest_without_parquet_is_read_back() -> None:
    assert Manifest.read(manifest("traffic_bytes", HOUR, 2, [], ["jp-1"])).parquet_batches == ()


def test_other_bytes_are_no_manifest() -> None:
    with pytest.raises(MismatchError, match="manifest: expected one, got other bytes"):
        Manifest.read(b"{}")


def test_what_moves_to_another_bucket_is_named_there_in_every_form() -> None:
    line = ManifestEntry("gone", "k1", 1, events=2, usage=10, bytes=20, sha256="aa")
    file = ManifestEntry("gone", "k2", 1, 2, 10, 90, "cc", envelope="parquet")
    sent = ManifestEntry("gone", "k3", 1, 1, 5, 10, "dd")
    other = ManifestEntry("b", "k1", 1, 1, 5, 10, "ee")
    before = manifest("traffic_bytes", HOUR, 1, [line, sent, other], ["jp-1"], [file])
    after = Manifest.read(before).moved("gone", {"k1", "k2"}, "new")
    assert after.written() == manifest(
        "traffic_bytes",
        HOUR,
        1,
        [structs.replace(line, bucket="new"), sent, other],
        ["jp-1"],
        [structs.replace(file, bucket="new")],
    )
