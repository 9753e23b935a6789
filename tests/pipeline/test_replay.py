"""Invariant 6: running anything again changes no row and sends no byte."""

from collections.abc import Callable
from typing import Any

import pytest

from billing_etl.hours import HourRange
from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.pipeline.deliver import deliver_hours
from billing_etl.pipeline.reconcile import reconcile_hours
from pipeline.harness import (
    HISTORY,
    JSON,
    A,
    B,
    Line,
    command,
    hour_of,
    ledger,
    row_versions,
    sample,
    snapshot,
)

HOURS = ("11", "12", "13")
RANGE = HourRange(hour_of("11"), hour_of("14"))


def eventful() -> list[JSON]:
    """Three hours with idle minutes, a restart, a gap, a birth and a bad sample."""
    snapshots = []
    for minute in range(3 * 60 + 1):
        if minute in range(70, 76):
            continue
        since = minute if minute < 90 else minute - 90
        samples = [sample(A, 10 * since, 20 * since), sample(B, 5, 5, "xhttp")]
        if minute >= 100:
            samples.append(sample(B, minute, 2 * minute))
        if minute == 30:
            samples[1]["uplink_bytes_total"] = -1
        snapshots.append(snapshot(f"{11 + minute // 60:02}:{minute % 60:02}:03", *samples))
    return snapshots


@pytest.fixture
def delivered(line: Line, s3: Any, bucket: str, object_store: EmbeddedObjectStore) -> Line:
    """Three hours collected, rated, delivered and reconciled."""
    line.serve(eventful())
    line.settings |= {
        "s3_enabled": True,
        "s3_bucket": bucket,
        "s3_endpoint_url": object_store.endpoint_url,
    }
    everything(line)
    return line


def everything(line: Line) -> None:
    line.collected(*HOURS)
    line.rate()
    deliver_hours(line.engine, RANGE)
    assert reconcile_hours(line.engine, RANGE).clean


def objects(s3: Any, bucket: str) -> list[tuple[Any, ...]]:
    """What the bucket lists; an object sent again has a later time."""
    listed = s3.list_objects_v2(Bucket=bucket).get("Contents", ())
    return [(each["Key"], each["Size"], each["ETag"], each["LastModified"]) for each in listed]


AGAIN: dict[str, Callable[[Line], object]] = {
    "collect the first hour": lambda line: line.collected("11"),
    "collect the middle hour": lambda line: line.collected("12"),
    "collect all in reverse": lambda line: line.collected(*reversed(HOURS)),
    "rate": lambda line: line.rate(),
    "rate one hour": lambda line: line.rate("12", "13"),
    "deliver": lambda line: deliver_hours(line.engine, RANGE),
    "reconcile": lambda line: reconcile_hours(line.engine, RANGE),
    "everything": everything,
}


def test_again_changes_no_row_and_sends_no_byte(delivered: Line, s3: Any, bucket: str) -> None:
    """One after the other on the same state, as each must leave it as it was."""
    rows, sent = row_versions(delivered, *HISTORY), objects(s3, bucket)
    assert rows["facts_20260408"]
    assert len(sent) >= 6

    for step, again in AGAIN.items():
        again(delivered)

        assert row_versions(delivered, *HISTORY) == rows, step
        assert objects(s3, bucket) == sent, step


def test_again_by_command_changes_nothing(delivered: Line, s3: Any, bucket: str) -> None:
    rows, sent = row_versions(delivered, *HISTORY), objects(s3, bucket)
    environment = delivered.environment(
        BILLING_S3_ENABLED="1",
        BILLING_S3_BUCKET=bucket,
        BILLING_S3_ENDPOINT_URL=str(delivered.settings["s3_endpoint_url"]),
        AWS_ACCESS_KEY_ID=s3._request_signer._credentials.access_key,
        AWS_SECRET_ACCESS_KEY=s3._request_signer._credentials.secret_key,
        AWS_REGION="us-east-1",
    )

    answer = command(
        environment, "pipeline", "--from", "2026-04-08T11", "--to", "2026-04-08T14", "--json"
    )

    assert answer.code == 0, answer.err
    assert {each["outcome"] for each in answer.document["collect"]["results"]} == {"unchanged"}
    assert answer.document["rate"]["facts_changed"] == 0
    assert row_versions(delivered, *HISTORY) == rows
    assert objects(s3, bucket) == sent


def test_losing_the_past_for_a_while_leaves_no_trace_but_a_closed_finding(delivered: Line) -> None:
    before = row_versions(delivered, *HISTORY, "findings")
    delivered.serve(eventful()[-20:])
    delivered.collected("13")
    delivered.serve(eventful())

    delivered.collected("13")

    assert row_versions(delivered, *HISTORY, "findings") == before
    assert delivered.rows(
        "select kind, resolution from billing_core.findings where kind = 'history_shrunk'"
    ) == [("history_shrunk", "withdrawn")]


def test_a_replay_appends_nothing_to_the_ledger(delivered: Line) -> None:
    entries = ledger(delivered)
    assert [entry.entry_type for entry in entries] == ["traffic_charge"] * len(entries)

    everything(delivered)

    assert ledger(delivered) == entries
