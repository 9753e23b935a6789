"""What is offered, delivered and waiting, and when somebody is told ("Heartbeat")."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from billing_rows import ACCOUNT, HOUR, OTHER_ACCOUNT, Rows

from billing_etl.delivery import ObjectStore
from billing_etl.errors import RetryableError, TerminalError
from billing_etl.hours import HourRange
from billing_etl.pipeline.attention import findings
from billing_etl.pipeline.deliver import deliver_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.heartbeat import delivery_health, watch_delivery

HOURS = HourRange.single(HOUR)
ENDED = HOUR.end + timedelta(minutes=5)
HOUR_LONG = timedelta(hours=1)


class Clock:
    """The test's time, which the database takes for the time things happened at."""

    def __init__(self, engine: Engine, rows: Rows) -> None:
        self.engine, self.rows, self.now = engine, rows, ENDED

    def collected(self) -> None:
        self.rows.connection.execute(
            "update billing_core.source_hours set changed_at = %s", (self.now,)
        )

    def deliver(self, engine: Engine | None = None) -> None:
        started = datetime.now(UTC)
        deliver_hours(engine or self.engine, HOURS, now=self.now)
        self.rows.connection.execute(
            "update billing_core.delivery_heartbeats set last_success = %s"
            " where last_success >= %s",
            (self.now, started),
        )

    def health(self) -> dict[str, Any]:
        (row,) = delivery_health(self.engine, now=self.now)
        return row

    def state(self) -> str:
        watch_delivery(self.engine, now=self.now)
        return str(self.health()["state"])

    def alerts(self) -> list[str]:
        return [f["subject"] for f in findings(self.engine, include_closed=False)]


@pytest.fixture
def series(rows: Rows) -> int:
    rows.source("jp-1")
    rows.source_hour("jp-1")
    return rows.series("jp-1", ACCOUNT)


@pytest.fixture
def clock(engine: Engine, rows: Rows, s3: Any, series: int) -> Clock:
    clock = Clock(engine, rows)
    clock.collected()
    watch_delivery(engine, now=clock.now)  # from here on the view knows the settings
    return clock


def failing(*_: object) -> str:
    raise RetryableError("no answer")


def test_an_hour_from_collecting_to_delivery(clock: Clock, rows: Rows, series: int) -> None:
    for minute in (3, 7, 9):
        rows.fact(series, minute, 1, 0)
    before = clock.health()
    assert before | {"waits_since": None} == {
        "event_type": "traffic_bytes", "state": "flowing", "offered": 3, "delivered": 0,
        "failed_objects": 0, "backlog": 3, "pending_objects": 0,
        "oldest_undelivered": HOUR.start + timedelta(minutes=3), "oldest_age_seconds": 62 * 60,
        "waits_since": None, "last_success": None, "last_error": None,
        "alert_after_seconds": 7200,
    }  # fmt: skip
    clock.deliver()
    after = clock.health()
    assert (after["offered"], after["delivered"], after["backlog"]) == (3, 3, 0)
    assert (after["oldest_undelivered"], after["oldest_age_seconds"]) == (None, None)
    assert (after["last_success"], after["state"]) == (clock.now, "flowing")


def test_objects_that_failed_are_counted(
    clock: Clock, rows: Rows, series: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minute in (3, 7, 9):
        rows.fact(series, minute, 1, 0)
    small = Engine(replace(clock.engine.settings, s3_max_events=1, s3_concurrency=1))
    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "put", failing)
        with pytest.raises(RetryableError):
            clock.deliver(small)
    row = clock.health()
    assert (row["failed_objects"], row["pending_objects"]) == (1, 4)
    assert (row["offered"], row["delivered"], row["backlog"]) == (3, 0, 3)
    assert row["oldest_undelivered"] == HOUR.start + timedelta(minutes=3)
    assert (row["state"], row["last_error"]) == ("behind", "no answer")
    clock.deliver(small)
    row = clock.health()
    assert (row["failed_objects"], row["pending_objects"], row["last_error"]) == (0, 0, None)
    assert (row["offered"], row["delivered"]) == (3, 3)


def test_corrections_are_offered_too(clock: Clock, rows: Rows, series: int) -> None:
    other = rows.series("jp-1", OTHER_ACCOUNT)
    for minute in (3, 7):
        rows.fact(series, minute, 1, 0)
    clock.deliver()
    rows.fact(series, 7, 2, 0)  # changed
    rows.no_fact(series, 3)  # vanished
    rows.fact(other, 5, 1, 1)  # late
    row = clock.health()
    assert (row["offered"], row["delivered"], row["backlog"]) == (5, 2, 3)
    assert row["oldest_undelivered"] == HOUR.start + timedelta(minutes=3)
    clock.deliver()
    row = clock.health()
    assert (row["offered"], row["delivered"], row["backlog"]) == (5, 5, 0)


def test_an_hour_that_is_not_due_is_not_offered(clock: Clock, rows: Rows, series: int) -> None:
    rows.fact(series, 3, 1, 0)
    clock.now = HOUR.end - timedelta(minutes=1)
    assert clock.health()["offered"] == 0
    clock.now = ENDED
    rows.source("de-1")  # never collected: the hour is open until the grace is over
    assert clock.health()["offered"] == 0
    clock.now = HOUR.end + HOUR_LONG
    assert clock.health()["offered"] == 1


def test_silence_is_no_alert(clock: Clock, rows: Rows, series: int) -> None:
    rows.fact(series, 3, 1, 0)
    clock.deliver()
    clock.now += timedelta(days=3)
    assert (clock.state(), clock.alerts()) == ("idle", [])


def test_traffic_without_delivery_is_an_alert_that_closes_by_itself(
    clock: Clock, rows: Rows, series: int
) -> None:
    rows.fact(series, 3, 1, 0)
    clock.now += timedelta(hours=2)
    assert (clock.state(), clock.alerts()) == ("flowing", [])
    clock.now += timedelta(seconds=1)
    assert (clock.state(), clock.alerts()) == ("stalled", ["traffic_bytes"])
    clock.now += timedelta(hours=5)
    assert (clock.state(), clock.alerts()) == ("stalled", ["traffic_bytes"])
    assert (
        "no export failed: is the export running?"
        in findings(clock.engine, include_closed=False)[0]["message"]
    )
    clock.deliver()  # and that looks at the heartbeat itself
    assert (clock.health()["state"], clock.alerts()) == ("flowing", [])
    (finding,) = findings(clock.engine, include_closed=True)
    assert finding["resolution"] == "withdrawn"


def test_an_alert_that_a_person_closed_opens_again_while_it_is_so(
    clock: Clock, rows: Rows, series: int
) -> None:
    rows.fact(series, 3, 1, 0)
    clock.now += timedelta(hours=3)
    clock.state()
    rows.connection.execute("update billing_core.findings set closed_at = now(), resolution = 'x'")
    clock.state()
    assert clock.alerts() == ["traffic_bytes"]


def test_how_long_is_a_setting(clock: Clock, rows: Rows, series: int) -> None:
    rows.fact(series, 3, 1, 0)
    patient = replace(clock.engine.settings, delivery_alert=timedelta(hours=10))
    clock.now += timedelta(hours=9)
    watch_delivery(Engine(patient), now=clock.now)
    assert (clock.health()["state"], clock.alerts()) == ("flowing", [])
    clock.now += timedelta(hours=2)
    watch_delivery(Engine(patient), now=clock.now)
    assert clock.alerts() == ["traffic_bytes"]


def test_old_hours_collected_after_a_long_silence_are_no_alert(
    clock: Clock, rows: Rows, series: int
) -> None:
    clock.now += timedelta(days=30)
    rows.fact(series, 3, 1, 0)
    clock.collected()
    assert (clock.state(), clock.alerts()) == ("flowing", [])


def test_one_hour_that_is_stuck_while_others_are_delivered_is_behind(
    clock: Clock, rows: Rows, series: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.fact(series, 3, 1, 0)
    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "put", failing)
        with pytest.raises(RetryableError):
            clock.deliver()
    rows.connection.execute("update billing_core.batches set sealed_at = %s", (clock.now,))
    clock.now += timedelta(hours=3)
    rows.connection.execute(
        "update billing_core.delivery_heartbeats set last_success = %s", (clock.now,)
    )
    assert (clock.state(), clock.alerts()) == ("behind", [])


def test_what_is_switched_off_is_no_alert(clock: Clock, rows: Rows, series: int) -> None:
    rows.fact(series, 3, 1, 0)
    clock.now += timedelta(days=1)
    for changes in ({"s3_enabled": False}, {"event_types": frozenset[str]()}):
        off = Engine(replace(clock.engine.settings, **changes))
        deliver_hours(off, HOURS, now=clock.now)
        assert (clock.health()["state"], clock.alerts()) == ("off", [])
    assert clock.state() == "stalled"  # on again


def test_a_wrong_role_is_an_alert_too(clock: Clock, rows: Rows, series: int) -> None:
    rows.fact(series, 3, 1, 0)
    clock.now += timedelta(hours=3)
    gone = Engine(replace(clock.engine.settings, s3_bucket="no-such-bucket"))
    with pytest.raises(TerminalError):
        clock.deliver(gone)
    (finding,) = findings(clock.engine, include_closed=False)
    assert "expected an existing bucket, got 404" in finding["message"]


def test_the_view_is_the_same_as_of_now(clock: Clock, rows: Rows, series: int) -> None:
    rows.fact(series, 3, 1, 0)
    columns = "event_type, state, offered, delivered, failed_objects, backlog, pending_objects"
    (row,) = rows.all(f"select {columns} from billing.delivery_health")
    assert row == ("traffic_bytes", "stalled", 1, 0, 0, 1, 0)


def test_a_source_that_is_disabled_is_not_waited_for(clock: Clock, rows: Rows, series: int) -> None:
    rows.fact(series, 3, 1, 0)
    key = rows.source("de-1")
    assert clock.health()["offered"] == 0
    rows.connection.execute(
        "update billing_core.sources set enabled = false where source_key = %s", (key,)
    )
    assert clock.health()["offered"] == 1
