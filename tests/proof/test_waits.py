"""Every wait for another run is bounded, and says what it waits for when it begins and ends."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from pipeline.harness import (
    DAY,
    A,
    C,
    Line,
    command,
    hour_of,
    readings,
    state,
    worked_example,
)
from pipeline.test_crash import until

from billing_etl.errors import BillingError, RetryableError
from billing_etl.hours import Hour, HourRange
from billing_etl.pipeline.accounts import add_credit, close_period
from billing_etl.pipeline.deliver import deliver_hours
from billing_etl.store import database, migrations
from proof.side_by_side import locked

HOUR = HourRange.single(hour_of("12"))
RATING = "select pg_advisory_xact_lock(hashtext('billing_etl rating'))"
SOURCE = "select pg_advisory_xact_lock(hashtextextended('billing_etl source jp-1', 0))"
MIGRATION = f"select pg_advisory_xact_lock{migrations._MIGRATION_LOCK}"
RATING_WAITS = (
    "ratings and ledger: waits for another run that rates, changes prices or regions, credits or"
    " closes a period"
)


def collect(line: Line) -> None:
    """Collects hour 12 with a late snapshot and a new account; a failure is raised."""
    served = [*worked_example(("12:04:03", 9, 18)), *readings(("12:50:03", 4, 4), account=C)]
    line.serve(served)
    for _, _, error in line.collect("12").failures:
        raise RetryableError(error)


def collect_elsewhere(line: Line) -> None:
    """Collects hour 12 of a source whose setting names another region than before."""
    line.serve(worked_example(), region="eu")
    for _, _, error in line.collect("12").failures:
        raise RetryableError(error)


def publish(line: Line) -> None:
    version = {"price_version": "v2", "price_per_byte": 3, "from": f"{DAY}T12:02:00Z"}
    line.publish(versions=[version])


class Wait(NamedTuple):
    """What another run holds, who needs it, and the line of the one that waits."""

    held: str
    work: Callable[[Line], Any]
    line: str
    is_rated: bool = False


WAITS = {
    "collect a source that is collected": Wait(
        SOURCE, collect, f"source jp-1, hour {DAY}T12: waits for another run of this source"
    ),
    "collect an hour that is sealed": Wait(
        "select from billing_core.deliveries for update",
        collect,
        f"source jp-1, hour {DAY}T12: waits for an export that seals hour {DAY}T12 or a later one",
    ),
    "collect account-hours that are rated": Wait(
        "select from billing_core.account_hours for update",
        collect,
        f"source jp-1, hour {DAY}T12: waits for a run that rates or collects the same"
        " account-hours",
    ),
    "collect an account that is being added": Wait(
        "insert into billing_core.accounts (account_uuid, opening_balance)"
        f" values ('{C}', 0) returning 1",
        collect,
        "new accounts: waits for another run that adds the same accounts",
    ),
    "collect with another region while rated": Wait(
        RATING, collect_elsewhere, RATING_WAITS.replace("ratings and ledger", "source jp-1")
    ),
    "rate while rated": Wait(RATING, lambda line: line.rate(), RATING_WAITS),
    "rate account-hours that are collected": Wait(
        "select from billing_core.account_hours for update",
        lambda line: line.rate(),
        "rate: waits for a run that collects the same account-hours",
    ),
    "publish while rated": Wait(
        RATING,
        publish,
        RATING_WAITS,
    ),
    "publish for account-hours that are collected": Wait(
        "select from billing_core.account_hours for update",
        publish,
        "prices: waits for a run that collects the same account-hours",
        is_rated=True,
    ),
    "credit while rated": Wait(
        RATING, lambda line: add_credit(line.engine, A, Decimal(1), "voucher"), RATING_WAITS
    ),
    "close while rated": Wait(
        RATING, lambda line: close_period(line.engine, "2026-03"), RATING_WAITS
    ),
    "export an hour that is collected": Wait(
        "select from billing_core.deliveries for share",
        lambda line: deliver_hours(line.engine, HOUR),
        f"export, hour {DAY}T12: waits for a run that collects this hour, or seals it",
    ),
    "migrate while migrated": Wait(
        MIGRATION,
        lambda line: migrations.migrate(line.database_url),
        "migrate: waits for another run that migrates this database",
    ),
}  # fmt: skip


@pytest.fixture
def waiting(line: Line, s3: Any, bucket: str, object_store: Any) -> Line:
    """Hour 12 is collected, not rated, not delivered."""
    line.settings |= {
        "s3_enabled": True,
        "s3_bucket": bucket,
        "s3_endpoint_url": object_store.endpoint_url,
    }
    line.serve(worked_example())
    line.collected("12")
    return line


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_a_wait_says_for_what_and_ends_with_an_error_that_names_it(
    waiting: Line, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, wait: Wait
) -> None:
    if wait.is_rated:
        waiting.rate()
    with monkeypatch.context() as patched, locked(waiting, wait.held):
        patched.setattr(database, "LOCK_WAIT_SECONDS", 0.3)
        with pytest.raises(BillingError) as caught:
            wait.work(waiting)

    assert isinstance(caught.value, RetryableError)
    assert messages(caplog) == [f"{wait.line}, at most 0.3 s"]
    who, _, what = wait.line.partition(": waits for ")
    assert f"{who}: waited 0.3 s for {what}; nothing was written" in str(caught.value)
    caplog.clear()
    wait.work(waiting)
    assert messages(caplog) == []


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Lines of waits, at a level that every log shows."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and "waits for" in record.getMessage()
    ]


def test_a_source_that_marks_hours_of_its_new_region_says_which_one_it_is(
    line: Line, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hour = Hour.of(datetime.now(UTC)).next
    at = f"{hour.start:%Y-%m-%dT%H}"
    line.serve(readings((f"{at}:00:03Z", 0, 0), (f"{at}:01:03Z", 5, 5)), region="jp")
    line.collected(str(hour))
    line.rate(str(hour), str(hour.next))
    line.serve(readings((f"{at}:00:03Z", 0, 0), (f"{at}:01:03Z", 5, 5)), region="eu")
    with (
        monkeypatch.context() as patched,
        locked(line, "select from billing_core.account_hours for update"),
    ):
        patched.setattr(database, "LOCK_WAIT_SECONDS", 0.3)
        ((_, _, error),) = line.collect(str(hour)).failures

    waits = "a run that collects the same account-hours"
    assert messages(caplog) == [f"source jp-1: waits for {waits}, at most 0.3 s"]
    assert f"source jp-1: waited 0.3 s for {waits}; nothing was written" in error
    line.collected(str(hour))
    assert line.rows("select stale from billing_core.account_hours") == [(True,)]


def test_a_run_says_that_it_waits_while_it_waits_and_then_goes_on(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    line.serve(worked_example())
    with ThreadPoolExecutor(1) as pool:
        with locked(line, SOURCE):
            running = pool.submit(line.collected, "12")
            until(lambda: messages(caplog))
            assert (running.done(), state(line, "12")) == (False, None)
        running.result()

    assert len(messages(caplog)) == 1
    assert state(line, "12") == "partial"


@pytest.mark.parametrize(
    ("held", "arguments", "error"),
    [
        (
            SOURCE,
            ("collect", "--from", f"{DAY}T12", "--to", f"{DAY}T13"),
            f"source jp-1, hour {DAY}T12: waited 0.3 s for another run of this source",
        ),
        (
            RATING,
            ("rate", "--from", f"{DAY}T12", "--to", f"{DAY}T13"),
            "ratings and ledger: waited 0.3 s for another run that rates",
        ),
        (MIGRATION, ("migrate",), "migrate: waited 0.3 s for another run that migrates"),
    ],
    ids=["collect", "rate", "migrate"],
)
def test_a_command_whose_wait_ends_fails_with_one_line_and_exit_code_1(
    line: Line, monkeypatch: pytest.MonkeyPatch, held: str, arguments: list[str], error: str
) -> None:
    line.serve(worked_example())
    monkeypatch.setattr(database, "LOCK_WAIT_SECONDS", 0.3)
    with locked(line, held):
        answer = command(line.environment(), *arguments)

    assert answer.code == 1
    (said,) = [text for text in answer.err.splitlines() if "waited" in text]
    assert error in said


def test_no_connection_waits_longer_than_two_minutes_for_any_lock(line: Line) -> None:
    line.serve([])
    with line.engine.connect() as connection:
        assert connection.execute("show lock_timeout").fetchone() == ("2min",)
        database.take_lock(connection, "select 1", (), who="test", waits_for="nothing")
        assert connection.execute("show lock_timeout").fetchone() == ("2min",)
