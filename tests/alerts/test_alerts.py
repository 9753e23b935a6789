"""Alerts in the database: opened once, told again, over; whatever fails on the way."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pipeline.harness import (
    DAY,
    A,
    Line,
    command,
    hour_of,
    readings,
    row_versions,
    sample,
    snapshot,
    worked_example,
)
from waiting import wait_until

from billing_etl.errors import RetryableError
from billing_etl.objectives import Alert
from billing_etl.pipeline.alerts import (
    DAG_FAILED,
    alerts_now,
    end_alerts,
    raise_alert,
    send_notices,
    watch,
)
from billing_etl.pipeline.attention import close_finding
from billing_etl.pipeline.attention import findings as all_findings
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.jobs import collect_source
from billing_etl.pipeline.served import note_oldest_served

WHOLE_HOUR = [*worked_example(), *readings(("12:59:03", 10, 20))]
CHECKPOINT = datetime(2026, 4, 8, 13, tzinfo=UTC)
HOUR = timedelta(hours=1)
QUIET: dict[str, Any] = {"alert_fact_lag": None, "alert_retention_used": None}


class Receiver:
    """Takes messages, or refuses them."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.refuses: set[str] = set()

    def __call__(self, name: str, message: dict[str, Any]) -> None:
        if name in self.refuses:
            raise RetryableError("503")
        self.messages.append((name, message))

    def kinds(self, name: str = "on_call") -> list[tuple[str, str, str]]:
        return [
            (message["kind"], message["rule"], message["subject"])
            for to, message in self.messages
            if to == name
        ]


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


def look(
    line: Line, at: datetime, receiver: Receiver, to: Sequence[str] = ("on_call",), **more: Any
) -> list[str]:
    """Watches at a time and sends; gives the broken rules."""
    engine = Engine(replace(line.engine.settings, **more))
    alerts = watch(engine, to, now=at)
    send_notices(engine, to, receiver)
    return [alert.rule for alert in alerts]


@pytest.fixture
def collected(line: Line) -> Line:
    line.serve(WHOLE_HOUR)
    line.collected("12")
    line.execute("delete from billing_core.findings")  # the single reset of the example
    return line


def test_an_alert_opens_is_told_again_and_is_over(collected: Line, receiver: Receiver) -> None:
    line = collected
    # The exporter is not asked: it serves 72 hours, as all do.
    assert look(line, CHECKPOINT + 3 * HOUR, receiver) == []
    assert receiver.messages == []
    for hours in (3.1, 3.2, 10):
        assert look(line, CHECKPOINT + hours * HOUR, receiver) == ["fact_lag"]
    assert receiver.kinds() == [("opened", "fact_lag", "jp-1")]
    (_, opened) = receiver.messages[0]
    assert opened["since"] == "2026-04-08T16:00:00Z"
    assert opened["what"] == "source jp-1: facts are 3 h 6 min behind, more than 3 h 0 min"
    assert "billing-etl status" in opened["remedy"]
    assert (opened["value"], opened["threshold"]) == ("11160.000000", "10800")
    look(line, CHECKPOINT + 27.1 * HOUR, receiver)
    look(line, CHECKPOINT + 28 * HOUR, receiver)
    assert receiver.kinds()[1:] == [("reminder", "fact_lag", "jp-1")]

    clocks = [f"{number:02d}:{minute}:03" for number in range(13, 24) for minute in ("00", "59")]
    line.serve([*WHOLE_HOUR, *readings(*((at, 10, 20) for at in clocks))])
    line.collected(*(f"{number:02d}" for number in range(13, 24)))
    assert look(line, CHECKPOINT + 12 * HOUR, receiver) == []
    look(line, CHECKPOINT + 12.1 * HOUR, receiver)
    assert receiver.kinds()[2:] == [("resolved", "fact_lag", "jp-1")]
    assert len({message["id"] for _, message in receiver.messages}) == 3
    ((sent, unsent),) = line.rows("select sent, unsent from billing.alerts")
    assert (sent, unsent) == (3, 0)

    # The next time is another alert.
    look(line, CHECKPOINT + 20 * HOUR, receiver)
    assert receiver.kinds()[3:] == [("opened", "fact_lag", "jp-1")]
    assert line.rows("select count(*) from billing.alerts") == [(2,)]


def test_looking_twice_changes_nothing(collected: Line, receiver: Receiver) -> None:
    at = CHECKPOINT + 5 * HOUR
    look(collected, at, receiver)
    before = row_versions(collected)
    look(collected, at, receiver)
    assert row_versions(collected) == before
    assert len(receiver.messages) == 1


def test_what_is_not_taken_is_sent_later_under_the_same_id(
    collected: Line, receiver: Receiver
) -> None:
    receiver.refuses = {"on_call"}
    to = ("on_call", "chat")
    look(collected, CHECKPOINT + 4 * HOUR, receiver, to)
    look(collected, CHECKPOINT + 40 * HOUR, receiver, to)  # no reminder joins it
    assert receiver.kinds() == []
    assert receiver.kinds("chat") == [
        ("opened", "fact_lag", "jp-1"),
        ("reminder", "fact_lag", "jp-1"), ("opened", "retention_used", "jp-1"),
    ]  # fmt: skip
    ((unsent, error),) = collected.rows(
        "select unsent, last_error from billing.alerts where rule = 'fact_lag'"
    )
    assert (unsent, error) == (1, "503")
    ids = collected.rows(
        "select notice_id::text from billing_core.alert_notices where sent_at is null"
        " order by notice_no"
    )
    receiver.refuses = set()
    look(collected, CHECKPOINT + 40 * HOUR, receiver, to)
    sent = [message["id"] for to_, message in receiver.messages if to_ == "on_call"]
    assert sent == [notice_id for (notice_id,) in ids]


def test_a_sender_that_dies_before_it_is_noted_sends_again(
    collected: Line, receiver: Receiver
) -> None:
    class DiedError(BaseException):
        pass

    def dies(name: str, message: dict[str, Any]) -> None:
        receiver(name, message)
        raise DiedError

    watch(collected.engine, ["on_call"], now=CHECKPOINT + 4 * HOUR)
    with pytest.raises(DiedError):
        send_notices(collected.engine, ["on_call"], dies)
    send_notices(collected.engine, ["on_call"], receiver)
    assert len(receiver.messages) == 2
    assert len({message["id"] for _, message in receiver.messages}) == 1


def test_a_second_sender_does_not_overtake_the_first(collected: Line, receiver: Receiver) -> None:
    """The callback of a run that succeeds sends, too, while `watch` waits for a slow receiver."""
    engine = collected.engine
    is_sending, may_go_on = threading.Event(), threading.Event()

    def slow(name: str, message: dict[str, Any]) -> None:
        is_sending.set()
        assert may_go_on.wait(60)
        receiver(name, message)

    def waits_or_sent() -> bool:
        ((waiting,),) = collected.rows("select count(*) from pg_locks where not granted")
        return waiting > 0 or bool(receiver.messages)

    failed = Alert(DAG_FAILED, "reconcile", "DAG reconcile failed", "look", CHECKPOINT)
    raise_alert(engine, failed, ["on_call"], now=CHECKPOINT)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(send_notices, engine, ["on_call"], slow)
        assert is_sending.wait(60)
        end_alerts(engine, "reconcile", ["on_call"], now=CHECKPOINT + HOUR)
        second = pool.submit(send_notices, collected.engine, ["on_call"], receiver)
        wait_until(waits_or_sent, seconds=60)
        may_go_on.set()
        assert (first.result(), second.result()) == ({}, {})
    assert [kind for kind, _, _ in receiver.kinds()] == ["opened", "resolved"]


def test_an_unknown_errors_text_is_not_kept(collected: Line) -> None:
    def fails(name: str, message: dict[str, Any]) -> None:
        raise ValueError("https://hooks.example.com/s3cr3t")

    watch(collected.engine, ["on_call"], now=CHECKPOINT + 4 * HOUR)
    assert send_notices(collected.engine, ["on_call"], fails) == {"on_call": "ValueError"}
    assert collected.rows("select last_error from billing.alerts") == [("ValueError",)]


def test_a_connection_that_joins_later_is_told_what_is_open(
    collected: Line, receiver: Receiver
) -> None:
    look(collected, CHECKPOINT + 4 * HOUR, receiver, ())
    assert collected.rows("select count(*) from billing.alerts") == [(1,)]
    look(collected, CHECKPOINT + 5 * HOUR, receiver)
    assert receiver.kinds() == [("opened", "fact_lag", "jp-1")]


def test_a_rule_that_is_off_is_no_alert_and_ends_one(collected: Line, receiver: Receiver) -> None:
    at = CHECKPOINT + 4 * HOUR
    look(collected, at, receiver)
    assert look(collected, at, receiver, alert_fact_lag=None) == []
    assert [kind for kind, _, _ in receiver.kinds()] == ["opened", "resolved"]
    assert collected.rows("select threshold from billing.objectives where rule = 'fact_lag'") == [
        (None,)
    ]


def test_a_source_that_left_the_settings_is_waited_for_no_more(
    collected: Line, receiver: Receiver
) -> None:
    collected.serve([], source_id="us-1")
    collected.collect("12", source_id="us-1")
    del collected.sources["jp-1"]
    look(collected, CHECKPOINT + 9 * HOUR, receiver)
    subjects = collected.rows("select distinct subject from billing.alerts")
    assert ("jp-1",) not in subjects
    assert collected.rows("select enabled from billing.source_status where source_id = 'jp-1'") == [
        (False,)
    ]


# --- the other rules ---------------------------------------------------------------------------


def test_open_findings_by_kind(line: Line, receiver: Receiver) -> None:
    line.serve([*worked_example(), *readings(("12:59:03", 10, 20), ("12:59:03", 10, 21))])
    line.collected("12")
    at = datetime.now(UTC)
    assert look(line, at, receiver, **QUIET) == ["open_findings"]
    assert receiver.kinds() == [("opened", "open_findings", "conflicting_samples")]
    assert look(line, at, receiver, alert_open_findings=Decimal(1), **QUIET) == []
    for finding in all_findings(line.engine, include_closed=False):
        close_finding(line.engine, finding["finding_id"], "seen")
    assert look(line, at, receiver, **QUIET) == []


def test_events_that_wait_for_delivery(collected: Line, receiver: Receiver) -> None:
    collected.settings |= {"s3_enabled": True, "s3_bucket": "none"}
    collected.execute(
        "update billing_core.delivery_heartbeats set is_exported = true;"
        f"update billing_core.source_hours set changed_at = '{CHECKPOINT.isoformat()}'"
    )
    assert look(collected, CHECKPOINT + 3 * HOUR, receiver, **QUIET) == []
    assert look(collected, CHECKPOINT + 4 * HOUR, receiver, **QUIET) == ["undelivered_age"]
    ((_, message),) = receiver.messages
    assert (message["subject"], message["since"]) == ("traffic_bytes", "2026-04-08T16:00:00Z")


def test_samples_on_nobodys_bill(line: Line, receiver: Receiver) -> None:
    bad = worked_example()
    for each in bad[1:3]:
        each["samples"].append(sample("nobody", 1, 2))
    line.serve([*bad, snapshot("12:59:03", sample(A, 10, 20))])
    line.collected("12")
    line.execute("delete from billing_core.findings")
    assert look(line, CHECKPOINT, receiver, **QUIET) == ["unattributed_share"]
    ((_, message),) = receiver.messages
    assert message["value"] == "0.250000"  # 2 of 8
    assert message["since"] == "2026-04-08T12:00:00Z"
    allowed = Decimal("0.25")
    assert look(line, CHECKPOINT, receiver, alert_unattributed_share=allowed, **QUIET) == []
    # A day later they are history.
    assert look(line, CHECKPOINT + 25 * HOUR, receiver, **QUIET) == []


@pytest.mark.parametrize(
    ("hours_served", "hours_behind", "broken"),
    [
        (None, 36, False), (None, 36.1, True),  # never asked: the contract's 72 hours
        (10, 5, False), (10, 5.1, True),
        (1, 2, False), (1, 2.1, True),  # younger than four hours counts as four
    ],
)  # fmt: skip
def test_half_of_what_an_exporter_serves(
    collected: Line, receiver: Receiver, hours_served: int | None, hours_behind: float, broken: bool
) -> None:
    second = "date_trunc('second', now())"
    if hours_served is not None:
        collected.execute(
            "insert into billing_core.source_retention select source_key,"
            f" extract(epoch from {second} - interval '{hours_served}h')::bigint * 1000000000,"
            f" {second} from billing_core.sources"
        )
    found = look(collected, CHECKPOINT + hours_behind * HOUR, receiver, alert_fact_lag=None)
    assert found == (["retention_used"] if broken else [])


def test_an_exporter_is_asked_how_far_back_it_serves_once_an_hour(line: Line) -> None:
    line.serve(WHOLE_HOUR)
    engine = line.engine
    (source,) = engine.settings.sources
    collect_source(engine, source, [hour_of("12")])
    # The store is of months ago: nothing of the last thirty days is served.
    assert line.rows("select count(*) from billing_core.source_retention") == [(0,)]
    recent = datetime.now(UTC) - 5 * HOUR
    line.serve([
        snapshot(f"{recent:%Y-%m-%dT%H:%M:%S}Z", sample(A, 1, 1)),
        snapshot(f"{recent + HOUR:%Y-%m-%dT%H:%M:%S}Z", sample(A, 2, 1)),
    ])  # fmt: skip
    note_oldest_served(engine, source)
    ((seconds,),) = line.rows(
        "select extract(epoch from asked_at)::bigint - oldest_ns / 1000000000"
        " from billing_core.source_retention"
    )
    assert abs(seconds - 5 * 3600) < 60
    before = row_versions(line)
    note_oldest_served(engine, source)
    assert row_versions(line) == before
    line.execute("update billing_core.source_retention set asked_at = asked_at - interval '1 hour'")
    note_oldest_served(engine, source)
    assert row_versions(line) != before


# --- runs, commands, view ------------------------------------------------------------------------


def test_a_failed_dag_is_an_alert_until_it_succeeds(collected: Line, receiver: Receiver) -> None:
    engine, at = collected.engine, CHECKPOINT
    failed = Alert(DAG_FAILED, "reconcile", "DAG reconcile failed", "look", at)
    for _ in range(2):
        raise_alert(engine, failed, ["on_call"], now=at)
    watch(engine, ["on_call"], now=at)  # looking at objectives does not end it
    assert [alert["rule"] for alert in alerts_now(engine, now=at)] == [DAG_FAILED]
    end_alerts(engine, "export_hourly", ["on_call"], now=at + HOUR)
    end_alerts(engine, "reconcile", ["on_call"], now=at + HOUR)
    send_notices(engine, ["on_call"], receiver)
    assert receiver.kinds() == [
        ("opened", DAG_FAILED, "reconcile"), ("resolved", DAG_FAILED, "reconcile"),
    ]  # fmt: skip


def test_the_command_ends_with_one_when_something_is_wrong(collected: Line) -> None:
    before = row_versions(collected)
    answer = command(collected.environment(), "alerts", "--json")
    assert answer.code == 1
    rules = {alert["rule"] for alert in answer.document["alerts"]}
    assert rules == {"fact_lag", "retention_used"}
    people = command(collected.environment(), "alerts")
    assert people.code == 1
    assert "what to do: " in people.out
    assert f"since {DAY} 16:00Z" in people.out
    assert "fact_lag: source jp-1" in command(collected.environment(), "status").out
    assert row_versions(collected) == before

    off = {"BILLING_ALERT_FACT_LAG": "off", "BILLING_ALERT_RETENTION_USED": "off"}
    fine = command(collected.environment(**off), "alerts")
    assert (fine.code, fine.out) == (0, "Alerts: none\n")
    status = command(collected.environment(**off), "status", "--json").document
    assert status["alerts"] == []


def test_the_view_says_the_same(collected: Line, receiver: Receiver) -> None:
    columns = "rule, subject, threshold, is_met, to_char(since at time zone 'UTC', 'HH24:MI')"
    query = f"select {columns} from billing.objectives where rule = 'fact_lag'"
    assert collected.rows(query) == [("fact_lag", "jp-1", None, True, None)]
    look(collected, CHECKPOINT, receiver)
    assert collected.rows(query) == [("fact_lag", "jp-1", Decimal(10800), False, "16:00")]
    units = collected.rows("select distinct unit from billing.objectives order by 1")
    assert units == [("seconds",), ("share",)]
