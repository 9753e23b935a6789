"""Sealed payloads go when they are delivered, reconciled clean and old; nothing else does."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pipeline.harness import row_versions

from audit.settled import HOURS, LATE, Settled
from billing_etl.hours import HourRange, parse_hour
from billing_etl.pipeline.deliver import deliver_hours
from billing_etl.pipeline.reconcile import ReconcileResult, reconcile_hours
from billing_etl.pipeline.retention import drop_payloads

ALL = HourRange(parse_hour(HOURS[0]), parse_hour(HOURS[1]))
HOUR_12 = HourRange.single(parse_hour(HOURS[0]))
OBJECTS = 13  # a batch, and a manifest for each hour


@pytest.fixture
def later() -> datetime:
    """After the retention of 35 days."""
    return datetime.now(UTC) + timedelta(days=35, minutes=1)


def dropped(day: Settled) -> int:
    ((count,),) = day.line.rows(
        "select count(*) from billing_core.batches"
        " where payload is null and payload_dropped_at is not null"
    )
    return int(count)


def reconcile(day: Settled, now: datetime, *, repair: bool = True) -> ReconcileResult:
    return reconcile_hours(day.line.engine, ALL, now=now, repair=repair)


def test_payloads_go_after_the_retention_and_nothing_else_does(
    settled: Settled, later: datetime
) -> None:
    columns = (
        "select batch_id, hour, meter_id, sealing, ordinal, kind, bucket, object_key, events,"
        " net_quantity, size_bytes, sha256, event_ids_sha256, run_id, sealed_at, delivered_at,"
        " attempts from billing_core.batches order by 1"
    )
    before = settled.line.rows(columns)
    assert reconcile(settled, later - timedelta(hours=1)).payloads_dropped == 0
    assert dropped(settled) == 0

    result = reconcile(settled, later)

    assert result.as_dict()["payloads_dropped"] == dropped(settled) == OBJECTS
    assert settled.line.rows(columns) == before
    ((counts,),) = settled.line.rows(
        "select counts from billing_core.runs where command = 'reconcile'"
        " order by run_id desc limit 1"
    )
    assert counts["payloads_dropped"] == OBJECTS
    assert reconcile(settled, later).payloads_dropped == 0


def test_a_setting_says_how_long(settled: Settled) -> None:
    settled.line.settings["payload_retention"] = timedelta(days=2)

    assert reconcile(settled, datetime.now(UTC) + timedelta(days=1)).payloads_dropped == 0
    assert reconcile(settled, datetime.now(UTC) + timedelta(days=3)).payloads_dropped == OBJECTS


def test_not_before_it_is_delivered(settled: Settled, later: datetime) -> None:
    settled.line.execute("update billing_core.batches set delivered_at = null where ordinal = 1")
    with settled.line.engine.connect() as connection:
        drop_payloads(connection, settled.line.engine.settings, later)

    assert settled.line.rows(
        "select kind, payload is not null from billing_core.batches where ordinal = 1"
    ) == [("events", True)]


def test_not_before_its_hour_is_found_clean_after_the_delivery(
    settled: Settled, later: datetime
) -> None:
    settled.serve(LATE)
    settled.line.collected(HOURS[0])
    settled.line.rate(*HOURS)
    deliver_hours(settled.line.engine, HOUR_12)
    engine = settled.line.engine

    with engine.connect() as connection:
        assert drop_payloads(connection, engine.settings, later) == OBJECTS
    assert settled.line.rows(
        "select sealing, count(*) from billing_core.batches where payload is not null group by 1"
    ) == [(2, 2)]

    settled.settle()
    with engine.connect() as connection:
        assert drop_payloads(connection, engine.settings, later) == 2


def test_not_while_something_of_the_hour_differs(settled: Settled, later: datetime) -> None:
    settled.damage("update billing_core.facts set uplink_quantity = uplink_quantity + 1")

    result = reconcile(settled, later)

    assert not result.clean
    assert result.payloads_dropped == OBJECTS - 2
    assert settled.line.rows(
        "select distinct hour from billing_core.batches where payload is not null"
    ) == [(HOUR_12.start.index,)]


def test_only_checking_drops_nothing(settled: Settled, later: datetime) -> None:
    assert reconcile(settled, later, repair=False).payloads_dropped == 0
    assert dropped(settled) == 0


def test_a_call_is_bounded_and_the_next_goes_on(settled: Settled, later: datetime) -> None:
    engine = settled.line.engine
    counts = []
    for _ in range(4):
        with engine.connect() as connection:
            counts.append(drop_payloads(connection, engine.settings, later, most=5))

    assert counts == [5, 5, 3, 0]


def test_everything_goes_on_without_payloads(settled: Settled, later: datetime, s3: Any) -> None:
    reconcile(settled, later)
    assert dropped(settled) == OBJECTS
    before = row_versions(settled.line, "runs", "sources", "reconciliations", "findings")

    settled.settle()  # collects, rates, exports and reconciles again: clean

    assert row_versions(settled.line, "runs", "sources", "reconciliations", "findings") == before
    settled.serve(LATE)
    settled.settle()
    usage = settled.line.rows("select sum(net_quantity)::int from billing_core.batches")
    assert usage == [(200,)]
    assert settled.document()["payloads_dropped"] == OBJECTS


def test_an_object_without_a_payload_cannot_be_sent_again_and_says_so(
    settled: Settled, later: datetime, s3: Any, bucket: str
) -> None:
    reconcile(settled, later)
    ((key, sha256),) = settled.line.rows(
        "select object_key, encode(sha256, 'hex') from billing_core.batches where kind = 'events'"
    )
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.delete_object(Bucket=bucket, Key=key)

    result = reconcile(settled, later)

    (check,) = (check for check in result.checks if check.status == "different")
    told = check.difference + " ".join(map(str, check.details))
    assert "cannot be sent again" in told
    assert sha256 in told
    assert settled.line.rows(
        "select count(*) from billing_core.findings where closed_at is null"
        " and kind = 'reconciliation'"
    ) != [(0,)]
    assert settled.document(code=0)["final"] is False

    s3.put_object(Bucket=bucket, Key=key, Body=body, ChecksumAlgorithm="SHA256")
    assert reconcile(settled, later).clean
