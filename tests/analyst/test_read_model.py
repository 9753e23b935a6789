"""Account services read these facts where they look for the shared accounting tables."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from pipeline.harness import DAY, A, B, Line, readings, sample, snapshot, worked_example

from billing_etl.hours import Hour
from billing_etl.pipeline.accounts import add_credit

SHAPES = {
    "traffic_stat_checkpoints": "node_id, account_uuid, last_uplink_total, last_downlink_total,"
    " last_seen_at, xray_revision, reset_epoch, created_at, updated_at",
    "traffic_minute_buckets": "bucket_start, node_id, account_uuid, region, line_code,"
    " uplink_bytes, downlink_bytes, total_bytes, multiplier, rating_status, source_revision,"
    " created_at, updated_at",
    "billing_ledger": "id, account_uuid, bucket_start, bucket_end, entry_type, rated_bytes,"
    " amount_delta, balance_after, pricing_rule_version, created_at",
    "account_quota_states": "account_uuid, remaining_included_quota, current_balance, arrears,"
    " arrears_since, throttle_state, suspend_state, last_rated_bucket_at, effective_at, updated_at",
    "account_billing_profiles": "account_uuid, package_name, included_quota_bytes,"
    " base_price_per_byte, region_multiplier, line_multiplier, peak_multiplier,"
    " offpeak_multiplier, pricing_rule_version, created_at, updated_at",
    "billing_source_sync_state": "source_id, last_completed_until, last_attempted_at,"
    " last_succeeded_at, last_error, updated_at",
}


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"{DAY}T{clock}+00:00")


def version(name: str, price: str, clock: str) -> dict[str, Any]:
    return {"price_version": name, "price_per_byte": price, "from": f"{DAY}T{clock}:00Z"}


@pytest.fixture
def billed(line: Line) -> Line:
    """The worked example: 170 bytes of A, 100 of them included, 140 owed."""
    line.serve(worked_example())
    line.collected("11", "12")
    line.rate()
    return line


@pytest.fixture
def service(billed: Line) -> Iterator[psycopg.Connection[Any]]:
    """A connection that finds the shared tables by its search path alone."""
    with psycopg.connect(
        billed.database_url, options="-c search_path=account_read_model -c timezone=Asia/Tokyo"
    ) as connection:
        yield connection


@pytest.mark.parametrize("table", SHAPES)
def test_each_table_has_the_shape_of_the_shared_one(
    service: psycopg.Connection[Any], table: str
) -> None:
    cursor = service.execute(f"select * from {table}".encode())
    assert [column.name for column in cursor.description or ()] == SHAPES[table].split(", ")
    service.execute(f"select {SHAPES[table]} from {table}".encode())


def test_nowhere_else_is_an_amount_a_float(line: Line) -> None:
    floats = line.rows(
        "select distinct table_schema from information_schema.columns where data_type"
        " in ('real', 'double precision')"
        " and table_schema in ('billing', 'billing_core', 'account_read_model')"
    )
    assert floats == [("account_read_model",)]


def test_checkpoints_are_the_newest_counters_of_an_account_on_a_node(
    billed: Line, service: psycopg.Connection[Any]
) -> None:
    checkpoints = (
        "select node_id, account_uuid::text, last_uplink_total, last_downlink_total, last_seen_at,"
        " xray_revision, reset_epoch, created_at <= updated_at from traffic_stat_checkpoints"
        " order by account_uuid"
    )
    assert service.execute(checkpoints).fetchall() == [
        ("prod:node-1", A, 10, 20, at("12:09:03"), "", 1, True)
    ]
    # A second inbound joins; then the node restarts, and both counters start from zero at once.
    two = [sample(A, 70, 80), sample(A, 5, 6, "xhttp"), sample(B, 1, 1)]
    restarted = [sample(A, 1, 2), sample(A, 3, 4, "xhttp"), sample(B, 0, 0)]
    billed.serve([*worked_example(), snapshot("13:00:03", *two), snapshot("13:01:03", *restarted)])
    billed.collected("13")
    assert service.execute(checkpoints).fetchall() == [
        ("prod:node-1", A, 4, 6, at("13:01:03"), "", 2, True),
        ("prod:node-1", B, 0, 0, at("13:01:03"), "", 1, True),
    ]


def buckets(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select bucket_start, node_id, region, line_code, uplink_bytes, downlink_bytes,"
        " total_bytes, multiplier, rating_status, source_revision from traffic_minute_buckets"
        " order by bucket_start, line_code"
    ).fetchall()


def test_buckets_are_the_minutes(billed: Line, service: psycopg.Connection[Any]) -> None:
    rated = [(*bucket[:1], *bucket[4:]) for bucket in buckets(service)]
    assert rated == [
        (at("12:00"), 10, 30, 40, 1.0, "rated", "1"),
        (at("12:02"), 30, 70, 100, 1.0, "rated", "1"),
        (at("12:03"), 7, 13, 20, 1.0, "rated", "1"),
        (at("12:09"), 3, 7, 10, 1.0, "rated", "1"),
    ]
    assert {bucket[1:4] for bucket in buckets(service)} == {("prod:node-1", "default", "tcp")}
    multipliers = {"region_multipliers": {"*": "1.5"}, "line_multipliers": {"tcp": "2"}}
    billed.publish(versions=[version("v", "1", "12:02") | multipliers])
    assert [bucket[7] for bucket in buckets(service)] == [1.0, 3.0, 3.0, 3.0]
    billed.execute("update billing_core.account_hours set stale = true")
    assert {bucket[8] for bucket in buckets(service)} == {"pending_reconcile"}


def test_a_bucket_that_is_not_rated_is_pending(line: Line) -> None:
    line.settings["price_per_byte"] = None
    line.serve(worked_example())
    line.collected("12")
    with psycopg.connect(line.database_url, options="-c search_path=account_read_model") as service:
        assert {bucket[7:9] for bucket in buckets(service)} == {(1.0, "pending")}
        assert service.execute(
            "select last_rated_bucket_at from account_quota_states"
        ).fetchall() == [(None,)]


def test_two_sources_of_one_node_share_a_bucket(line: Line) -> None:
    served = readings(("12:00:03", 0, 0), ("12:01:03", 3, 4))
    line.serve(served, shared_node=True)
    line.serve(served, source_id="us-1", shared_node=True)
    line.collected("12")
    with psycopg.connect(line.database_url, options="-c search_path=account_read_model") as service:
        assert [bucket[4:7] for bucket in buckets(service)] == [(6, 8, 14)]
        rows = service.execute("select last_uplink_total from traffic_stat_checkpoints").fetchall()
        assert rows == [(6,)]


def test_a_ledger_entry_is_what_it_does_to_the_balance(
    billed: Line, service: psycopg.Connection[Any]
) -> None:
    add_credit(billed.engine, A, Decimal("200.5"), "paid")
    billed.publish(versions=[version("dearer", "3", "12:00")])
    entries = service.execute(
        "select id, account_uuid::text, bucket_start, bucket_end, entry_type, rated_bytes,"
        " amount_delta, balance_after, pricing_rule_version from billing_ledger order by created_at"
    ).fetchall()
    hour = (at("12:00"), at("13:00"))
    assert [(*entry[:2], *entry[4:]) for entry in entries] == [
        ("1", A, "traffic_charge", 70, -140.0, -140.0, "initial"),
        ("2", A, "credit", 0, 200.5, 60.5, ""),
        ("3", A, "adjustment", 0, -70.0, -9.5, "dearer"),
    ]
    assert [entry[2:4] for entry in (entries[0], entries[2])] == [hour, hour]
    assert entries[1][2] == entries[1][3]
    balance = 0.0
    for entry in entries:
        balance += entry[6]
        assert balance == entry[7]


def test_quota_states_tell_quota_and_balance_now(
    billed: Line, service: psycopg.Connection[Any]
) -> None:
    now = datetime.now(UTC)
    period = datetime(now.year, now.month, 1, tzinfo=UTC)
    (state,) = service.execute(
        "select account_uuid::text, remaining_included_quota, current_balance, arrears,"
        " arrears_since, throttle_state, suspend_state, last_rated_bucket_at, effective_at"
        " from account_quota_states"
    ).fetchall()
    # What was used in April touches no quota of this month.
    assert state == (A, 100, -140.0, True, at("12:00"), "throttled", "active", at("12:09"), period)

    add_credit(billed.engine, A, Decimal(140), "paid")
    hour = str(Hour.of(now))
    billed.serve(
        [
            snapshot(f"{hour}:{minute:02}:03Z", sample(A, 10 + 7 * minute, 20))
            for minute in (0, 1, 2)
        ]
    )
    billed.collected(hour)
    assert service.execute(
        "select remaining_included_quota, current_balance, arrears, arrears_since, throttle_state"
        " from account_quota_states"
    ).fetchall() == [(86, 0.0, False, None, "normal")]


def test_a_source_says_how_far_it_is(billed: Line, service: psycopg.Connection[Any]) -> None:
    states = "select source_id, last_completed_until, last_error from billing_source_sync_state"
    completed = billed.rows("select checkpoint from billing.source_status")[0][0]
    assert service.execute(states).fetchall() == [("jp-1", completed, "")]
    billed.sources["jp-1"]["base_url"] = "http://127.0.0.1:9"
    billed.collect("13")
    ((_, _, error),) = service.execute(states).fetchall()
    assert "jp-1" in error
